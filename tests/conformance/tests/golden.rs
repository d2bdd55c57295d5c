//! Every golden script, three times: against the state machine alone, against Quorate and against
//! the etcd whose answers it holds.

use quorate_test_conformance::golden::{self, compare, core_scripts, each, server_scripts, update};
use quorate_test_conformance::remote::Remote;
use quorate_test_conformance::state_machine::StateMachine;
use quorate_test_support::program;
use quorate_test_support::server::Server;

/// Each seed is another order of flushes and compactions between the commands; 0 has none.
const SEEDS: u64 = 24;
/// Servers that run at the same time; starting one is mostly waiting.
const SERVERS: usize = 4;

#[test]
fn the_state_machine_answers_as_etcd() {
    if golden::updating() {
        return;
    }
    each("the state machine", &core_scripts(), 1, |script| {
        (0..SEEDS).try_for_each(|seed| {
            let outcome = compare(script, StateMachine::new(seed));
            outcome.map_err(|failure| format!("with seed {seed}: {failure}"))
        })
    });
}

#[test]
fn a_server_answers_as_etcd() {
    if golden::updating() {
        return;
    }
    let quorate = program::quorate();
    let scripts = [core_scripts(), server_scripts()].concat();
    each("Quorate", &scripts, SERVERS, |script| {
        let server = Server::start_new(&quorate, &[]);
        compare(script, Remote::new(&server.url(), true))
    });
}

#[test]
fn etcd_answers_as_written() {
    let Some(etcd) = program::peer("golden scripts", "etcd-3.7") else { return };
    let scripts = [core_scripts(), server_scripts()].concat();
    each("etcd", &scripts, SERVERS, |script| {
        // What is written here need not outlive the machine.
        let server = Server::start_new(&etcd, &["--unsafe-no-fsync"]);
        let target = Remote::new(&server.url(), false);
        if golden::updating() { update(script, target) } else { compare(script, target) }
    });
}
