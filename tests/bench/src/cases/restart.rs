//! Time from a start with many keys to the first answer.

use super::life::{Life, Lives, PUTS_BEFORE_KILL};
use super::prose;
use crate::comparison::{self, Comparison, Target};
use crate::report::{Section, Table, figure};

/// Limit for the time from start to first read, in seconds.
const SECONDS_MAX: f64 = 1.0;

/// The section of this case.
pub(super) fn section(lives: &Lives) -> Section {
    let compare = |what: &str, get: fn(&Life) -> f64| {
        Comparison::new(what, &lives.rounds, get).target(Target::Below(SECONDS_MAX))
    };
    let comparisons = [
        compare("after an orderly end, s", |life| life.stopped_to_read.as_secs_f64()),
        compare("after a kill, s", |life| life.killed_to_read.as_secs_f64()),
    ];
    let text = format!(
        "From the start of the process to the answer to a linearizable read of one key, which \
                is asked for again every millisecond. The files are still in the kernel's cache. \
                Before the kill there were {PUTS_BEFORE_KILL} puts."
    );
    let mut tables = comparison::tables(&comparisons);
    let mut many = Table::new(&["Quorate", "seconds", "target", ""]);
    for (what, time) in [
        ("after an orderly end", lives.many.stopped_to_read),
        ("after a kill", lives.many.killed_to_read),
    ] {
        let what = format!("{} keys, {what}", lives.many_keys);
        let seconds = time.as_secs_f64();
        let verdict = if seconds <= SECONDS_MAX { "met" } else { "**missed**" };
        let target = format!("at most {SECONDS_MAX}");
        many.rows.push(vec![what, figure(seconds), target, verdict.to_owned()]);
    }
    tables.insert(1, many);
    let title = format!("Start with {} keys, to the first read", lives.keys);
    Section { title, text: prose(&text), tables }
}
