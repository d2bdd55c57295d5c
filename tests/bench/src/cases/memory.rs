//! Memory with many keys.

use super::life::{Life, Lives};
use super::{VALUE_BYTES, prose};
use crate::comparison::{self, Comparison, Target};
use crate::report::{Section, Table, figure};
use crate::stats::Spread;

/// Quorate's memory must not grow with the number of keys; this ratio allows for noise.
const SAME: f64 = 1.05;

pub(super) fn mebibytes(bytes: u64) -> f64 {
    f64::from(u32::try_from(bytes >> 10).unwrap_or(u32::MAX)) / 1024.0
}

/// The section of this case.
pub(super) fn section(lives: &Lives) -> Section {
    let compare = |what: &str, get: fn(&Life) -> f64| Comparison::new(what, &lives.rounds, get);
    let half = Target::AtMost(0.5);
    let comparisons = [
        compare("loaded: resident, MiB", |life| mebibytes(life.loaded.total)).target(half),
        compare("loaded: its own, MiB", |life| mebibytes(life.loaded.anonymous)),
        compare("loaded: mapped files, MiB", |life| mebibytes(life.loaded.file)),
        compare("the most so far, MiB", |life| mebibytes(life.loaded.peak)),
        compare("restarted: resident, MiB", |life| mebibytes(life.restarted.total)).target(half),
        compare("restarted: its own, MiB", |life| mebibytes(life.restarted.anonymous)),
        compare("restarted: mapped files, MiB", |life| mebibytes(life.restarted.file)),
        compare("data directory, MiB", |life| mebibytes(life.disk_bytes)),
        compare("time of the load, s", |life| life.load_seconds),
    ];
    let Lives { keys, many_keys, .. } = lives;
    let text = format!(
        "{keys} keys of 8 B with values of {VALUE_BYTES} B, put one by one by 1000 clients; \
         measured when the server has come to rest (not busy for three seconds, or after a \
         minute), and once more after an orderly end and a start. \"Its own\" is anonymous \
         memory; mapped files are pages that the kernel can take back. The second table is \
         Quorate with {keys} keys (the middle of all rounds) and with {many_keys}: its memory \
         should not grow with the keys, which allows for a ratio of {SAME}."
    );
    let mut tables = comparison::tables(&comparisons);
    tables.insert(1, growth(lives));
    Section { title: format!("Memory with {keys} keys"), text: prose(&text), tables }
}

/// A row's label, and the figure that it shows.
type Row = (&'static str, fn(&Life) -> u64);

fn growth(lives: &Lives) -> Table {
    let few = format!("{} keys", lives.keys);
    let many = format!("{} keys", lives.many_keys);
    let mut table = Table::new(&["Quorate", &few, &many, "ratio", ""]);
    let rows: [Row; 4] = [
        ("loaded: resident, MiB", |life| life.loaded.total),
        ("the most so far, MiB", |life| life.loaded.peak),
        ("restarted: resident, MiB", |life| life.restarted.total),
        ("data directory, MiB", |life| life.disk_bytes),
    ];
    for (what, get) in rows {
        let few: Vec<f64> =
            lives.rounds.iter().map(|round| mebibytes(get(&round.quorate))).collect();
        let few = Spread::of(&few).map_or(0.0, |spread| spread.median);
        let many = mebibytes(get(&lives.many));
        let verdict = match (what.contains("resident"), many <= few * SAME) {
            (false, _) => "",
            (true, true) => "met",
            (true, false) => "**missed**",
        };
        let cells = [figure(few), figure(many), figure(many / few), verdict.to_owned()];
        table.rows.push(std::iter::once(what.to_owned()).chain(cells).collect());
    }
    table
}
