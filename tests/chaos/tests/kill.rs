//! SIGKILL at random moments under load loses no acknowledged write and never decreases a revision.

use quorate_test_chaos::campaign::{survive, survive_first_starts};
use quorate_test_chaos::fault::environment::Environment;

/// The variable with the number of rounds.
const ROUNDS: &str = "QUORATE_CHAOS_KILLS";

#[test]
fn kills_lose_nothing() {
    survive(Environment::OneProcess, ["kill", "kills_lose_nothing"], ROUNDS, 40);
}

#[test]
fn kills_of_new_members_lose_nothing() {
    let test = ["kill", "kills_of_new_members_lose_nothing"];
    survive_first_starts(Environment::OneProcess, test, ROUNDS, 8);
}
