//! Campaigns: many runs of each scenario.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rand::seq::index;
use tokio::runtime::{Builder, Runtime};

use crate::scenario::{self, Scenario};

/// The runs of each scenario in a campaign that takes a sample. Unset: a few.
const RUNS: &str = "QUORATE_SIMULATION_RUNS";
/// The name of the only scenario. Unset: all of them.
const ONLY: &str = "QUORATE_SIMULATION_ONLY";

/// How many runs of each scenario a campaign makes.
pub(crate) fn runs(usual: usize) -> usize {
    let Ok(text) = std::env::var(RUNS) else { return usual };
    text.parse().unwrap_or_else(|_| panic!("{RUNS}={text} is no number"))
}

/// As many of the possible runs as the campaign makes of a scenario: always the same ones.
pub(crate) fn sample<T: Copy>(possible: &[T], usual: usize) -> Vec<T> {
    let mut random = StdRng::seed_from_u64(14);
    let count = runs(usual).min(possible.len());
    let mut chosen = index::sample(&mut random, possible.len(), count).into_vec();
    chosen.sort_unstable();
    chosen.into_iter().map(|at| possible[at]).collect()
}

/// The counts of a campaign, by name.
pub(crate) type Counts = Vec<(&'static str, usize)>;

/// Does something with each scenario, several at a time, and prints the counts.
///
/// # Panics
/// If a scenario does not end well. The message tells all of these scenarios.
pub(crate) fn each(what: &str, run: impl Fn(&Runtime, &Scenario) -> Result<Counts, String> + Sync) {
    let mut scenarios = scenario::all();
    if let Ok(only) = std::env::var(ONLY) {
        scenarios.retain(|scenario| scenario.name == only);
    }
    let next = AtomicUsize::new(0);
    let (total, errors) = (Mutex::new(Counts::new()), Mutex::new(Vec::new()));
    let workers = thread::available_parallelism().map_or(2, usize::from);
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                let runtime = Builder::new_current_thread().enable_all().build().unwrap();
                let place = || next.fetch_add(1, Ordering::Relaxed);
                while let Some(scenario) = scenarios.get(place()) {
                    match run(&runtime, scenario) {
                        Ok(counts) => {
                            println!("{what}, {}: {}", scenario.name, text(&counts));
                            add(&mut total.lock().unwrap(), &counts);
                        }
                        Err(error) => {
                            println!("{what}, {}: {error}", scenario.name);
                            errors.lock().unwrap().push(scenario.name);
                        }
                    }
                }
            });
        }
    });
    println!("{what}: {} scenarios, {}", scenarios.len(), text(&total.into_inner().unwrap()));
    let errors = errors.into_inner().unwrap();
    assert!(errors.is_empty(), "these scenarios do not end well: {errors:#?}");
}

fn add(total: &mut Counts, counts: &Counts) {
    if total.is_empty() {
        total.clone_from(counts);
        return;
    }
    for ((_, total), (_, count)) in total.iter_mut().zip(counts) {
        *total += count;
    }
}

fn text(counts: &Counts) -> String {
    let texts = counts.iter().map(|(name, count)| format!("{count} {name}"));
    texts.collect::<Vec<_>>().join(", ")
}
