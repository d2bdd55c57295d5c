//! Runs every golden script against one Quorate member, a follower of three members, a follower
//! while the other one is killed repeatedly, and the etcd that the answers come from. The state
//! machine alone runs its scripts in `server/core/tests/scripts`.

use std::path::PathBuf;
use std::time::Duration;

use quorate_test_conformance::remote::Remote;
use quorate_test_script::golden::{self, compare, compare_by, each, leases_in_order, update};
use quorate_test_support::cluster::Cluster;
use quorate_test_support::follower_cluster::FollowerCluster;
use quorate_test_support::program;
use quorate_test_support::repository;
use quorate_test_support::server::Server;

/// Servers that run concurrently; a start is mostly waiting.
const SERVERS: usize = 4;
/// Interval of the kills. Most scripts take no longer, so the first kill is at their start.
const KILLED_EVERY: Duration = Duration::from_secs(1);

/// The scripts of the state machine, and those that need a server: refusals of the API, clocks,
/// streams.
fn scripts() -> Vec<PathBuf> {
    let folders = ["server/core/scripts", "tests/conformance/scripts"];
    folders.map(|folder| golden::scripts(&repository().join(folder))).concat()
}

#[test]
fn a_server_answers_as_etcd() {
    if golden::updating() {
        return;
    }
    let quorate = program::quorate();
    let scripts = scripts();
    each("Quorate", &scripts, SERVERS, |script| {
        let server = Server::start_new(&quorate, &[]);
        compare(script, Remote::new(&server.url(), true))
    });
}

/// Runs every script against a follower of three members.
fn through_a_follower(what: &str, killed_every: Option<Duration>) {
    if golden::updating() {
        return;
    }
    let quorate = program::quorate();
    let scripts = scripts();
    each(what, &scripts, SERVERS, |script| {
        let cluster = Cluster::start_new_in_turn(&quorate, 3, &[]);
        let cluster = FollowerCluster::new(cluster).with_kills(killed_every);
        compare_by(script, Remote::new(&cluster.url(), true), leases_in_order)?;
        cluster.finish();
        Ok(())
    });
}

#[test]
fn a_follower_answers_as_etcd() {
    through_a_follower("a follower", None);
}

#[test]
fn a_follower_answers_as_etcd_while_the_other_is_killed() {
    through_a_follower("a follower beside one that is killed", Some(KILLED_EVERY));
}

#[test]
fn etcd_answers_as_recorded() {
    let Some(etcd) = program::etcd("golden scripts", "etcd-3.7") else { return };
    let scripts = scripts();
    each("etcd", &scripts, SERVERS, |script| {
        // The data need not survive a crash of the machine.
        let server = Server::start_new(&etcd, &["--unsafe-no-fsync"]);
        let target = Remote::new(&server.url(), false);
        if golden::updating() { update(script, target) } else { compare(script, target) }
    });
}
