//! The window of one piece of heavy work, and the puts and disk writes in it.

use std::time::{Duration, Instant};

use crate::client::steady::Put;
use crate::probe::Sample;
use crate::stats::Latencies;

/// The time window of a piece of work.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    pub(super) what: &'static str,
    pub(super) begun: Instant,
    pub(super) ended: Instant,
    /// Flushes of the database within the window.
    pub(super) flushes: f64,
}

/// Figures of the puts within the window. Times are in microseconds.
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
    /// Puts slower than the limit.
    pub(super) slow: u64,
    /// Slow puts that a slow disk explains.
    pub(super) slow_by_disk: u64,
    /// Other slow puts, which late wake-ups of threads explain.
    pub(super) slow_by_cpu: u64,
    /// The slowest put that the disk does not explain.
    pub(super) worst_disk_aside: f64,
    /// The slowest put that neither the disk nor the CPU explains.
    pub(super) worst_all_aside: f64,
    pub(super) probe_median: f64,
    pub(super) probe_worst: f64,
    /// Longest wake-up delay of the probe or the client.
    pub(super) late_worst: f64,
}

/// The cause of a slow put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    Disk,
    Cpu,
    Server,
}

/// A span of time.
#[derive(Clone, Copy, Debug)]
struct Span {
    begun: Instant,
    ended: Instant,
}

impl Span {
    fn length(&self) -> Duration {
        self.ended.saturating_duration_since(self.begun)
    }
}

/// The possible causes of delays, except the server. Each list is in order of time.
pub(super) struct Beside {
    /// Writes of the probe to the disk.
    disk: Vec<Span>,
    /// Wake-up delays of the probe's thread, from the due time to the beginning of the write.
    probe_late: Vec<Span>,
    /// Wake-up delays of the client's thread, from the due time to the sending of the put.
    client_late: Vec<Span>,
}

impl Beside {
    /// Collects the causes. `samples` must be in order of time.
    pub(super) fn new(samples: &[Sample], puts: &[Put]) -> Self {
        let disk = |sample: &Sample| Span { begun: sample.begun, ended: sample.ended };
        let late = |sample: &Sample| Span { begun: sample.due, ended: sample.begun };
        let sent = |put: &Put| Span { begun: put.due, ended: put.sent };
        let mut client_late: Vec<Span> = puts.iter().map(sent).collect();
        client_late.sort_by_key(|span| (span.begun, span.ended));
        Self {
            disk: samples.iter().map(disk).collect(),
            probe_late: samples.iter().map(late).collect(),
            client_late,
        }
    }

    /// The cause of a slow put. It is the disk if a write of the probe during the put took at least
    /// half as long as the put. Otherwise it is the CPU if a wake-up delay during the put was at
    /// least half as long as the put. Otherwise it is the server.
    fn cause(&self, put: &Put) -> Cause {
        if longest(&self.disk, put.sent, put.ended) * 2 >= put.latency() {
            Cause::Disk
        } else if self.late(put.sent, put.ended) * 2 >= put.latency() {
            Cause::Cpu
        } else {
            Cause::Server
        }
    }

    /// The longest wake-up delay that overlaps the given span.
    fn late(&self, begun: Instant, ended: Instant) -> Duration {
        longest(&self.probe_late, begun, ended).max(longest(&self.client_late, begun, ended))
    }
}

fn longest(spans: &[Span], begun: Instant, ended: Instant) -> Duration {
    overlapping(spans, begun, ended).map(Span::length).max().unwrap_or(Duration::ZERO)
}

fn overlapping(spans: &[Span], begun: Instant, ended: Instant) -> impl Iterator<Item = &Span> {
    let first = spans.partition_point(|span| span.ended < begun);
    spans[first..].iter().take_while(move |span| span.begun <= ended)
}

impl Window {
    /// The puts that overlap the window, in the order of `puts`.
    fn puts<'a>(&self, puts: &'a [Put]) -> Vec<&'a Put> {
        puts.iter().filter(|put| put.sent <= self.ended && put.ended >= self.begun).collect()
    }

    /// The median of the puts that overlap the window, in microseconds.
    pub(super) fn median(&self, puts: &[Put]) -> f64 {
        Latencies::of(self.puts(puts).iter().map(|put| put.latency())).median()
    }

    /// The figures of the window. A put is slow if it took more than `slow_above` microseconds.
    pub(super) fn found(&self, puts: &[Put], beside: &Beside, slow_above: f64) -> Found {
        let puts = self.puts(puts);
        let latencies = Latencies::of(puts.iter().map(|put| put.latency()));
        let is_slow = |put: &&&Put| micros(put.latency()) > slow_above;
        let slow: Vec<(Cause, Duration)> =
            puts.iter().filter(is_slow).map(|put| (beside.cause(put), put.latency())).collect();
        let count = |of: Cause| slow.iter().filter(|(cause, _)| *cause == of).count() as u64;
        let fast = puts.iter().filter(|put| !is_slow(put)).map(|put| put.latency());
        let fast_worst = fast.max().unwrap_or(Duration::ZERO);
        let worst = |causes: &[Cause]| {
            let rest = slow.iter().filter(|(cause, _)| causes.contains(cause));
            micros(rest.map(|(_, latency)| *latency).max().unwrap_or(fast_worst))
        };
        let probe = overlapping(&beside.disk, self.begun, self.ended);
        let probe = Latencies::of(probe.map(Span::length));
        Found {
            what: self.what,
            seconds: (self.ended - self.begun).as_secs_f64(),
            flushes: self.flushes,
            puts: latencies.count(),
            refused: puts.iter().filter(|put| !put.is_done).count() as u64,
            median: latencies.median(),
            p999: latencies.micros(0.999),
            worst: latencies.worst(),
            slow: slow.len() as u64,
            slow_by_disk: count(Cause::Disk),
            slow_by_cpu: count(Cause::Cpu),
            worst_disk_aside: worst(&[Cause::Cpu, Cause::Server]),
            worst_all_aside: worst(&[Cause::Server]),
            probe_median: probe.median(),
            probe_worst: probe.worst(),
            late_worst: micros(beside.late(self.begun, self.ended)),
        }
    }
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    const PUTS: u64 = 200;
    /// The puts that take longer than 1 ms: the time at which each begins and how long it takes, in
    /// milliseconds.
    const SLOW_PUTS: [(u64, u64); 4] = [(20, 30), (70, 20), (100, 25), (150, 9)];

    /// A put and a write of the probe each millisecond. The write that begins at 25 ms takes 18 ms,
    /// and the write that begins at 75 ms takes 8 ms. The write that is due at 105 ms begins at
    /// 120 ms.
    fn measured(zero: Instant) -> (Vec<Put>, Vec<Sample>) {
        let at = |millis| zero + Duration::from_millis(millis);
        let put = |n| {
            let millis = SLOW_PUTS.iter().find(|(begun, _)| *begun == n).map_or(1, |slow| slow.1);
            Put { due: at(n), sent: at(n), ended: at(n + millis), is_done: n != 70 }
        };
        let sample =
            |due, begun, ended| Sample { due: at(due), begun: at(begun), ended: at(ended) };
        let mut samples: Vec<Sample> = (0..25).map(|n| sample(n, n, n + 1)).collect();
        samples.push(sample(25, 25, 43));
        samples.extend((43..75).map(|n| sample(n, n, n + 1)));
        samples.push(sample(75, 75, 83));
        samples.extend((83..105).map(|n| sample(n, n, n + 1)));
        samples.push(sample(105, 120, 121));
        samples.extend((121..PUTS).map(|n| sample(n, n, n + 1)));
        ((0..PUTS).map(put).collect(), samples)
    }

    #[test]
    fn a_slow_write_is_attributed_to_the_disk_or_the_cpu_by_the_probe() {
        let zero = Instant::now();
        let (puts, samples) = measured(zero);
        let ended = zero + Duration::from_millis(PUTS);
        let window = Window { what: "all", begun: zero, ended, flushes: 0.0 };
        let found = window.found(&puts, &Beside::new(&samples, &puts), 10.0 * window.median(&puts));
        assert_eq!((found.puts, found.refused), (PUTS, 1));
        assert_eq!((found.slow, found.slow_by_disk, found.slow_by_cpu), (3, 1, 1));
        assert!((found.worst - 30_000.0).abs() < 30.0, "{found:?}");
        assert_eq!((found.worst_disk_aside, found.worst_all_aside), (25_000.0, 20_000.0));
        assert!((found.probe_worst - 18_000.0).abs() < 20.0, "{found:?}");
        assert_eq!(found.late_worst, 15_000.0);
    }

    #[test]
    fn a_late_wakeup_of_the_client_counts_as_cpu() {
        let zero = Instant::now();
        let (mut puts, samples) = measured(zero);
        let ended = zero + Duration::from_millis(PUTS);
        let window = Window { what: "all", begun: zero, ended, flushes: 0.0 };
        let late = Duration::from_millis(10);
        puts[80].sent += late;
        puts[80].ended += late;
        let found = window.found(&puts, &Beside::new(&samples, &puts), 10_000.0);
        assert_eq!((found.slow, found.slow_by_disk, found.slow_by_cpu), (3, 1, 2));
    }

    #[test]
    fn only_puts_that_overlap_the_window_count() {
        let zero = Instant::now();
        let (puts, samples) = measured(zero);
        let at = |millis: u64| zero + Duration::from_micros(millis * 1000 + 500);
        let window = Window { what: "part", begun: at(30), ended: at(40), flushes: 0.0 };
        let found = window.found(&puts, &Beside::new(&samples, &puts), 31_000.0);
        // The puts sent from 30 to 40 ms, and the one sent at 20 ms.
        assert_eq!((found.puts, found.slow), (12, 0));
        assert_eq!(found.worst_all_aside, 30_000.0);
        assert_eq!(found.probe_median.round(), found.probe_worst.round());
    }
}
