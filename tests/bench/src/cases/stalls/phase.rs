//! One piece of heavy work, and the writes and the disk in its time.

use std::time::{Duration, Instant};

use crate::client::steady::Put;
use crate::probe::Sample;
use crate::stats::Latencies;

/// When a piece of work was done.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    pub(super) what: &'static str,
    pub(super) begun: Instant,
    pub(super) ended: Instant,
    /// Flushes of the database in that time.
    pub(super) flushes: f64,
}

/// What the writes beside it met. Times are in microseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    pub(super) what: &'static str,
    pub(super) seconds: f64,
    pub(super) flushes: f64,
    pub(super) puts: u64,
    pub(super) refused: u64,
    pub(super) median: f64,
    pub(super) p999: f64,
    pub(super) worst: f64,
    /// Writes slower than so many medians, and those of them while the disk was slow.
    pub(super) slow: u64,
    pub(super) slow_by_disk: u64,
    /// The slowest write that is not put down to the disk.
    pub(super) worst_disk_aside: f64,
    pub(super) probe_median: f64,
    pub(super) probe_worst: f64,
    /// How late the probe was woken at worst.
    pub(super) late_worst: f64,
}

impl Found {
    /// The slowest write in medians.
    pub(super) fn ratio(&self) -> f64 {
        self.worst / self.median
    }

    /// The slowest write that is not put down to the disk, in medians.
    pub(super) fn ratio_disk_aside(&self) -> f64 {
        self.worst_disk_aside / self.median
    }
}

impl Window {
    /// What the writes and the probe's writes were that it overlaps. A write is slow when it took
    /// more than `medians_max` medians. `samples` are in order.
    pub(super) fn found(&self, puts: &[Put], samples: &[Sample], medians_max: f64) -> Found {
        let puts: Vec<&Put> =
            puts.iter().filter(|put| put.sent <= self.ended && put.ended >= self.begun).collect();
        let latencies = Latencies::of(puts.iter().map(|put| put.latency()));
        let median = latencies.median();
        let (mut slow, mut slow_by_disk) = (0, 0);
        let mut worst_disk_aside = Duration::ZERO;
        for put in &puts {
            let is_slow = micros(put.latency()) > medians_max * median;
            let is_by_disk = is_slow && disk(samples, put.sent, put.ended) * 2 >= put.latency();
            slow += u64::from(is_slow);
            slow_by_disk += u64::from(is_by_disk);
            if !is_by_disk {
                worst_disk_aside = worst_disk_aside.max(put.latency());
            }
        }
        let beside = || overlapping(samples, self.begun, self.ended);
        let probe = Latencies::of(beside().map(Sample::latency));
        let late = beside().map(Sample::lateness).max();
        Found {
            what: self.what,
            seconds: (self.ended - self.begun).as_secs_f64(),
            flushes: self.flushes,
            puts: latencies.count(),
            refused: puts.iter().filter(|put| !put.is_done).count() as u64,
            median,
            p999: latencies.micros(0.999),
            worst: latencies.worst(),
            slow,
            slow_by_disk,
            worst_disk_aside: micros(worst_disk_aside),
            probe_median: probe.median(),
            probe_worst: probe.worst(),
            late_worst: late.map_or(0.0, micros),
        }
    }
}

/// The longest write of the probe at some time between two moments.
fn disk(samples: &[Sample], begun: Instant, ended: Instant) -> Duration {
    overlapping(samples, begun, ended).map(Sample::latency).max().unwrap_or(Duration::ZERO)
}

fn overlapping(
    samples: &[Sample],
    begun: Instant,
    ended: Instant,
) -> impl Iterator<Item = &Sample> {
    let first = samples.partition_point(|sample| sample.ended < begun);
    samples[first..].iter().take_while(move |sample| sample.begun <= ended)
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    const PUTS: u64 = 100;

    /// A put each millisecond that takes 1 ms, but for two: from 20 ms on 30 ms, and from 70 ms on
    /// 20 ms. The probe's write takes 1 ms, but for one: from 25 ms on 18 ms.
    fn measured(zero: Instant) -> (Vec<Put>, Vec<Sample>) {
        let at = |millis: u64| zero + Duration::from_millis(millis);
        let put = |n| {
            let millis = match n {
                20 => 30,
                70 => 20,
                _ => 1,
            };
            Put { sent: at(n), ended: at(n + millis), is_done: n != 70 }
        };
        let sample = |begun, ended| Sample { due: at(begun), begun: at(begun), ended: at(ended) };
        let mut samples: Vec<Sample> = (0..25).map(|n| sample(n, n + 1)).collect();
        samples.push(sample(25, 43));
        samples.extend((43..PUTS).map(|n| sample(n, n + 1)));
        ((0..PUTS).map(put).collect(), samples)
    }

    #[test]
    fn a_slow_write_beside_a_slow_disk_is_told_apart() {
        let zero = Instant::now();
        let (puts, samples) = measured(zero);
        let ended = zero + Duration::from_millis(PUTS);
        let window = Window { what: "all", begun: zero, ended, flushes: 0.0 };
        let found = window.found(&puts, &samples, 10.0);
        assert_eq!((found.puts, found.refused), (PUTS, 1));
        assert_eq!((found.slow, found.slow_by_disk), (2, 1));
        assert!((found.ratio() - 30.0).abs() < 0.1, "{found:?}");
        assert!((found.ratio_disk_aside() - 20.0).abs() < 0.1, "{found:?}");
        assert!((found.probe_worst - 18_000.0).abs() < 20.0, "{found:?}");
    }

    #[test]
    fn only_what_overlaps_counts() {
        let zero = Instant::now();
        let (puts, samples) = measured(zero);
        let at = |millis: u64| zero + Duration::from_micros(millis * 1000 + 500);
        let window = Window { what: "part", begun: at(30), ended: at(40), flushes: 0.0 };
        let found = window.found(&puts, &samples, 10.0);
        // Those sent from 30 to 40 ms, and the one that began at 20 ms.
        assert_eq!((found.puts, found.slow), (12, 1));
        assert_eq!(found.probe_median.round(), found.probe_worst.round());
    }
}
