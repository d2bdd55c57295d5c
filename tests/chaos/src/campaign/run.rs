//! Campaigns as tests: their seed and length come from the environment of the process.

use quorate_test_support::program;

use super::Campaign;
use crate::fault::environment::Environment;
use crate::fault::schedule::Schedule;
use crate::seed::{Seed, is_measured, number_from_env, only_fault};

/// Runs a campaign of as many rounds as the environment variable `variable` says, or else of
/// `rounds`. `test` is the target and the name of the test. Prints the command that repeats it.
///
/// # Panics
/// On a violation, and when a fault that was injected often had no effect.
pub fn survive(environment: Environment, test: [&str; 2], variable: &str, rounds: u64) {
    if environment.is_possible(&test.join(", ")) {
        let rounds = number_from_env(variable).unwrap_or(rounds);
        let seed = Seed::choose();
        eprintln!("{environment:?}; again: {}", seed.replay(test, variable, rounds));
        play(environment, seed, rounds);
    }
}

/// Runs campaigns of one round against `members` new members, one after the other. The other
/// arguments are those of [`survive`].
///
/// # Panics
/// On a violation.
pub fn survive_first_starts(
    environment: Environment,
    test: [&str; 2],
    variable: &str,
    members: u64,
) {
    if environment.is_possible(&test.join(", ")) {
        let seed = Seed::choose();
        eprintln!("{environment:?}; again: {}", seed.replay(test, variable, 1));
        (0..members).for_each(|number| play(environment, seed.derive(number), 1));
    }
}

fn play(environment: Environment, seed: Seed, rounds: u64) {
    let faults = Schedule::new(environment, seed.rng(u64::MAX), only_fault().as_deref());
    let mut campaign = Campaign::new(&program::quorate(), environment, seed);
    if is_measured() {
        campaign.measure_stalls();
    }
    campaign.run(faults.take(usize::try_from(rounds).expect("it fits into memory")));
    eprintln!("{environment:?}: {}\n{}", campaign.tally(), campaign.effects());
    eprintln!("{environment:?}: {}", campaign.resources());
    let ineffective = campaign.effects().ineffective();
    assert!(ineffective.is_empty(), "faults without an effect: {ineffective:?}");
}
