//! The operator crashes at every call, before and after its effect, in every scenario.

use quorate_controller::cluster::plan::plan;

use crate::campaign::{self, Counts};
use crate::run;

/// A crash before a call, or after one that only reads, leaves the same world as a crash after the
/// call before; and between two rounds the operator remembers nothing. So there are as many
/// different crashes as there are calls that changed the world.
#[test]
fn every_scenario_ends_well_after_a_crash_at_every_call() {
    campaign::each("crashes", |runtime, scenario| {
        let run = runtime.block_on(run::undisturbed(scenario, plan))?;
        let mut known = run.known;
        let [mut worlds, mut rounds] = [0; 2];
        for moment in run.moments.iter().filter(|moment| !moment.starts) {
            let at = moment.call;
            let near = &run.calls[at.saturating_sub(2)..run.calls.len().min(at + 1)];
            let outcome = runtime.block_on(run::resumed(scenario, moment, &known));
            let (passed, count) = outcome.map_err(|error| {
                format!("after a crash at call {at}, the second of {near:#?}: {error}")
            })?;
            known.extend(passed);
            worlds += 1;
            rounds += count;
        }
        Ok(Counts::from([
            ("calls", run.calls.len()),
            ("crash points", 2 * run.calls.len()),
            ("different worlds after a crash", worlds),
            ("rounds in them", rounds),
        ]))
    });
}
