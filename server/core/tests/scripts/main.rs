//! Runs every golden script of `server/core/scripts` against the state machine alone. The answers
//! in the scripts are etcd's: `tests/conformance/tests/golden.rs` runs the same scripts against
//! etcd and against servers.

mod state_machine;
mod status;
mod users;
mod watches;

use std::path::Path;

use quorate_test_script::golden::{self, compare, each};
use state_machine::StateMachine;

/// Each seed gives another order of flushes and compactions between the commands; 0 gives none.
const SEEDS: u64 = 24;

#[test]
fn the_state_machine_answers_as_etcd() {
    if golden::updating() {
        return;
    }
    let scripts = golden::scripts(&Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts"));
    each("the state machine", &scripts, 1, |script| {
        (0..SEEDS).try_for_each(|seed| {
            let outcome = compare(script, StateMachine::new(seed));
            outcome.map_err(|failure| format!("with seed {seed}: {failure}"))
        })
    });
}
