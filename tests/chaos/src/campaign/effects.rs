//! The effects of faults, which show that a survived fault was a real one.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};
use std::time::Duration;

use crate::fault::Fault;
use crate::history::{Moment, Observation, Observed, Operation, Outcome};

/// How often a fault must have been injected before it can count as ineffective.
const INJECTED_MIN: usize = 2;
/// A gap between writes that only a fault explains.
const STALL: Duration = Duration::from_millis(500);
/// The longest gap between writes with a healthy majority, on a busy machine.
const STALL_MAX: Duration = Duration::from_secs(10);
/// The same on an idle machine when the leader stays.
const MEASURED_STALL_MAX: Duration = Duration::from_secs(2);
/// The same on an idle machine when there is an election.
const MEASURED_ELECTION_MAX: Duration = Duration::from_secs(5);

/// The last columns of the table of effects.
const LATER_COLUMNS: [&str; 5] = ["snapshots", "cancelled", "affected", "interrupted", "overloads"];

/// The effects of one fault, or of several of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Effect {
    /// The number of faults.
    pub injected: usize,
    /// Processes that got a SIGKILL.
    pub kills: usize,
    /// Processes that ended by themselves.
    pub ended: usize,
    /// Faults after which there was another leader or a later term.
    pub elections: usize,
    /// Requests of unknown outcome that may have written.
    pub lost_writes: usize,
    /// The other requests of unknown outcome.
    pub lost_reads: usize,
    /// The longest time without an acknowledged write.
    pub stall: Duration,
    /// Snapshots that members received.
    pub snapshots: usize,
    /// Watches cancelled because a compaction removed events that they had not received.
    pub cancelled: usize,
    /// Log lines with a wrong date.
    pub wrong_times: usize,
    /// Packets that the network lost, pieces that a proxy lost, delayed or held back, and full
    /// disks.
    pub affected: u64,
    /// Snapshots whose receiver was killed during the transfer.
    pub interrupted: usize,
    /// Loads on members: unread connections, ranges and watches, abandoned ranges, pauses, log
    /// lines.
    pub overloads: usize,
}

impl Effect {
    /// Adds the operations of clients that were told to stop at `stopped`. That moment counts as
    /// the last write, so a stall at the end is measured from the write before it. Later writes
    /// come from clients that were still waiting and do not count.
    pub fn note<'a>(
        &mut self,
        operations: impl Iterator<Item = &'a Operation> + Clone,
        stopped: Moment,
    ) {
        let unknown = operations.clone().filter(|operation| operation.is_unknown());
        for operation in unknown {
            if operation.request.may_write() {
                self.lost_writes += 1;
            } else {
                self.lost_reads += 1;
            }
        }
        let writes = operations.filter(|operation| {
            operation.request.may_write() && matches!(operation.outcome, Outcome::Answered(_))
        });
        let moments = writes.map(|write| write.returned.elapsed);
        let mut moments: Vec<Duration> = moments.filter(|at| *at < stopped.elapsed).collect();
        moments.push(stopped.elapsed);
        moments.sort_unstable();
        let longest = moments.windows(2).map(|pair| pair[1] - pair[0]).max();
        self.stall = self.stall.max(longest.unwrap_or_default());
    }

    /// Adds the cancellations of watches.
    pub fn note_watches(&mut self, observations: &[Observation]) {
        let cancelled = observations.iter().filter(
            |observation| matches!(&observation.what, Observed::Received(told) if told.canceled),
        );
        self.cancelled += cancelled.count();
    }

    fn add(&mut self, other: Self) {
        self.injected += other.injected;
        self.kills += other.kills;
        self.ended += other.ended;
        self.elections += other.elections;
        self.lost_writes += other.lost_writes;
        self.lost_reads += other.lost_reads;
        self.stall = self.stall.max(other.stall);
        self.snapshots += other.snapshots;
        self.cancelled += other.cancelled;
        self.wrong_times += other.wrong_times;
        self.affected += other.affected;
        self.interrupted += other.interrupted;
        self.overloads += other.overloads;
    }

    fn unknown(&self) -> usize {
        self.lost_writes + self.lost_reads
    }

    /// Whether the effects include those that one such fault must cause every time.
    pub fn shows(&self, fault: Fault) -> bool {
        use Fault as F;
        match fault {
            F::KillLeader
            | F::KillTwice
            | F::StopLeader
            | F::PauseLeader
            | F::IsolateLeader
            | F::HangDisk => self.elections > 0,
            F::DropFromLeader | F::DropToLeader => self.elections > 0 && self.affected > 0,
            F::IsolateAll => self.stall >= STALL,
            F::OneWayRing => self.stall >= STALL && self.affected > 0,
            F::LosePackets | F::DelayTraffic | F::CorruptTraffic | F::HoldTraffic => {
                self.affected > 0
            }
            F::KillReceivingSnapshot => self.snapshots > 0 && self.interrupted > 0,
            F::FallBehind => self.snapshots > 0,
            F::FallBehindRunning => self.snapshots > 0 && self.cancelled > 0,
            F::FillDisk => self.affected > 0,
            F::ReplaceMember => self.ended > 0,
            F::JumpClock | F::StrobeClocks => self.wrong_times > 0,
            F::Bridge => self.elections > 0,
            F::ClosePeerPort => self.kills > 0 && self.affected > 0,
            overload if overload.is_overload() => self.overloads > 0,
            _ => true,
        }
    }

    /// Whether the effects include those that such a fault must cause when it is injected often.
    fn shows_when_repeated(&self, fault: Fault) -> bool {
        use Fault as F;
        match fault {
            F::KillLeader | F::KillTwice | F::KillAll | F::CutPowerOfAll => {
                self.kills > 0 && self.elections > 0
            }
            F::KillMajority => self.stall >= STALL,
            F::KillFollower | F::KillStarting | F::KillCompacting | F::KillDefragmenting => {
                self.kills > 0 && self.unknown() > 0
            }
            F::CutPowerOfOne
            | F::CutPowerCompacting
            | F::CutPowerDefragmenting
            | F::CutPowerStarting
            | F::IsolateFollower
            | F::PauseFollower => self.unknown() > 0,
            F::Flap | F::CorruptTraffic => self.elections > 0 || self.unknown() > 0,
            F::PauseLeaderBriefly => self.unknown() > 0 || self.stall >= STALL / 5,
            each_time => self.shows(each_time),
        }
    }
}

/// The longest allowed time without an acknowledged write in a cluster of `size` members. `None`
/// for faults that leave no healthy majority. The limit is tighter when times are measured, and
/// tightest when the fault did not hit the leader (`leader_stayed`).
pub(super) fn stall_max(
    fault: Fault,
    size: usize,
    leader_stayed: bool,
    is_measured: bool,
) -> Option<Duration> {
    use Fault as F;
    let leaves_a_majority = matches!(
        fault,
        F::KillFollower
            | F::PauseFollower
            | F::IsolateFollower
            | F::CutPowerOfOne
            | F::FillDisk
            | F::KillLeader
            | F::StopLeader
            | F::PauseLeader
            | F::IsolateLeader
            | F::HangDisk
            | F::Bridge
            | F::ClosePeerPort
    ) || fault.is_overload();
    if !leaves_a_majority || size == 1 {
        None
    } else if !is_measured {
        Some(STALL_MAX)
    } else if leader_stayed {
        Some(MEASURED_STALL_MAX)
    } else {
        Some(MEASURED_ELECTION_MAX)
    }
}

/// The effects of all faults, by kind.
#[derive(Clone, Debug, Default)]
pub struct Effects(BTreeMap<Fault, Effect>);

impl Effects {
    /// Adds the effects of one fault.
    pub fn add(&mut self, fault: Fault, effect: Effect) {
        self.0.entry(fault).or_default().add(effect);
    }

    /// The effects of all faults together.
    pub fn total(&self) -> Effect {
        let mut total = Effect::default();
        self.0.values().for_each(|effect| total.add(*effect));
        total
    }

    /// The faults that were injected often and never had their expected effects.
    pub fn ineffective(&self) -> Vec<Fault> {
        let often = self.0.iter().filter(|(_, effect)| effect.injected >= INJECTED_MIN);
        often
            .filter(|(fault, effect)| !effect.shows_when_repeated(**fault))
            .map(|(fault, _)| *fault)
            .collect()
    }
}

impl Display for Effects {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let columns = ["injected", "kills", "elections", "lost writes", "lost reads", "stall"];
        write!(f, "{:>22}", "fault")?;
        for column in columns.into_iter().chain(LATER_COLUMNS) {
            write!(f, " {column:>11}")?;
        }
        let all = self.0.iter().map(|(fault, effect)| (format!("{fault:?}"), *effect));
        for (name, effect) in all.chain([("all".to_owned(), self.total())]) {
            let Effect { injected, kills, elections, lost_writes, lost_reads, .. } = effect;
            write!(f, "\n{name:>22} {injected:>11} {kills:>11} {elections:>11}")?;
            let stall = format!("{:.2} s", effect.stall.as_secs_f64());
            write!(f, " {lost_writes:>11} {lost_reads:>11} {stall:>11}")?;
            write!(f, " {:>11} {:>11}", effect.snapshots, effect.cancelled)?;
            write!(
                f,
                " {:>11} {:>11} {:>11}",
                effect.affected, effect.interrupted, effect.overloads
            )?;
        }
        Ok(())
    }
}
