//! The lists that the operator reads lag behind.

use crate::campaign::{self, Counts};
use crate::run;

/// The runs of each scenario by default.
const USUAL: usize = 2;
/// The most runs of a scenario.
const MOST: usize = 50;

#[test]
fn every_scenario_ends_well_with_lists_that_lag_behind() {
    campaign::each("lags", |runtime, scenario| {
        let runs = campaign::runs(USUAL).min(MOST);
        let mut rounds = 0;
        for seed in 0..runs {
            let run = runtime.block_on(run::lagging(scenario, seed as u64));
            rounds += run.map_err(|error| format!("seed {seed}: {error}"))?;
        }
        Ok(Counts::from([("runs", runs), ("rounds", rounds)]))
    });
}
