//! The effects of faults, which show that a survived fault was a real one.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};
use std::time::Duration;

use crate::fault::cluster::ClusterFault;
use crate::history::{Moment, Observation, Observed, Operation, Outcome};

/// How often a fault must have struck before it can count as toothless.
const STRUCK_MIN: usize = 2;
/// A gap between writes that only a fault explains.
const STALL: Duration = Duration::from_millis(500);
/// The longest gap between writes with a healthy majority, on a busy machine.
const STALL_MAX: Duration = Duration::from_secs(10);
/// The same on an idle machine when the leader stays.
const MEASURED_STALL_MAX: Duration = Duration::from_secs(2);
/// The same on an idle machine when there is an election.
const MEASURED_ELECTION_MAX: Duration = Duration::from_secs(5);

/// The last columns of the table of effects.
const LATER_COLUMNS: [&str; 5] = ["snapshots", "cancelled", "hindered", "torn", "strained"];

/// The effects of one fault, or of several of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Effect {
    /// The number of faults.
    pub struck: usize,
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
    pub hindered: u64,
    /// Snapshots whose receiver was killed during the transfer.
    pub torn: usize,
    /// Strains on members: unread connections, ranges and watches, abandoned ranges, pauses, log
    /// lines.
    pub strained: usize,
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
            match operation.request.may_write() {
                true => self.lost_writes += 1,
                false => self.lost_reads += 1,
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
            |observation| matches!(&observation.what, Observed::Told(told) if told.canceled),
        );
        self.cancelled += cancelled.count();
    }

    fn add(&mut self, other: Self) {
        self.struck += other.struck;
        self.kills += other.kills;
        self.ended += other.ended;
        self.elections += other.elections;
        self.lost_writes += other.lost_writes;
        self.lost_reads += other.lost_reads;
        self.stall = self.stall.max(other.stall);
        self.snapshots += other.snapshots;
        self.cancelled += other.cancelled;
        self.wrong_times += other.wrong_times;
        self.hindered += other.hindered;
        self.torn += other.torn;
        self.strained += other.strained;
    }

    fn unknown(&self) -> usize {
        self.lost_writes + self.lost_reads
    }

    /// Whether the effects include what one such fault must cause every time.
    pub fn shows(&self, fault: ClusterFault) -> bool {
        use ClusterFault as F;
        match fault {
            F::KillLeader
            | F::KillTwice
            | F::StopLeader
            | F::PauseLeader
            | F::IsolateLeader
            | F::HangDisk => self.elections > 0,
            F::MuteLeader | F::DeafenLeader => self.elections > 0 && self.hindered > 0,
            F::Scatter => self.stall >= STALL,
            F::Ring => self.stall >= STALL && self.hindered > 0,
            F::LosePackets | F::Delay | F::Mutilate | F::Hold => self.hindered > 0,
            F::KillReceiving => self.snapshots > 0 && self.torn > 0,
            F::Outdate => self.snapshots > 0,
            F::OutdateAlive => self.snapshots > 0 && self.cancelled > 0,
            F::FillDisk => self.hindered > 0,
            F::Replace => self.ended > 0,
            F::JumpClock | F::StrobeClocks => self.wrong_times > 0,
            F::BridgeLeader => self.elections > 0,
            F::ClosePort => self.kills > 0 && self.hindered > 0,
            strain if strain.is_strain() => self.strained > 0,
            _ => true,
        }
    }

    /// Whether the effects include what such a fault must cause when it strikes often.
    fn bites(&self, fault: ClusterFault) -> bool {
        use ClusterFault as F;
        match fault {
            F::KillLeader | F::KillTwice | F::KillAll | F::CutPowerOfAll => {
                self.kills > 0 && self.elections > 0
            }
            F::KillMajority => self.stall >= STALL,
            F::KillOther | F::KillStarting | F::KillCompacting | F::KillDefragmenting => {
                self.kills > 0 && self.unknown() > 0
            }
            F::CutPowerOfOne | F::IsolateOther | F::PauseOther => self.unknown() > 0,
            F::Flap | F::Mutilate => self.elections > 0 || self.unknown() > 0,
            F::PauseBriefly => self.unknown() > 0 || self.stall >= STALL / 5,
            shown_each_time => self.shows(shown_each_time),
        }
    }
}

/// The longest allowed time without an acknowledged write. `None` for faults that leave no healthy
/// majority. The limit is tighter when times are measured, and tightest when the fault struck
/// another member than the leader (`leader_stayed`).
pub(super) fn stall_max(
    fault: ClusterFault,
    leader_stayed: bool,
    measured: bool,
) -> Option<Duration> {
    use ClusterFault as F;
    let leaves_a_majority = matches!(
        fault,
        F::KillOther
            | F::PauseOther
            | F::IsolateOther
            | F::CutPowerOfOne
            | F::FillDisk
            | F::KillLeader
            | F::StopLeader
            | F::PauseLeader
            | F::IsolateLeader
            | F::HangDisk
            | F::BridgeLeader
            | F::ClosePort
    ) || fault.is_strain();
    let bound = match (measured, leader_stayed) {
        (false, _) => STALL_MAX,
        (true, true) => MEASURED_STALL_MAX,
        (true, false) => MEASURED_ELECTION_MAX,
    };
    leaves_a_majority.then_some(bound)
}

/// The effects of all faults, by kind.
#[derive(Clone, Debug, Default)]
pub struct Effects(BTreeMap<ClusterFault, Effect>);

impl Effects {
    /// Adds the effects of one fault.
    pub fn add(&mut self, fault: ClusterFault, effect: Effect) {
        self.0.entry(fault).or_default().add(effect);
    }

    /// The effects of all faults together.
    pub fn total(&self) -> Effect {
        let mut total = Effect::default();
        self.0.values().for_each(|effect| total.add(*effect));
        total
    }

    /// The faults that struck often and never had their expected effects.
    pub fn toothless(&self) -> Vec<ClusterFault> {
        let often = self.0.iter().filter(|(_, effect)| effect.struck >= STRUCK_MIN);
        often.filter(|(fault, effect)| !effect.bites(**fault)).map(|(fault, _)| *fault).collect()
    }
}

impl Display for Effects {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let columns = ["struck", "kills", "elections", "lost writes", "lost reads", "stall"];
        write!(f, "{:>18}", "fault")?;
        for column in columns.into_iter().chain(LATER_COLUMNS) {
            write!(f, " {column:>11}")?;
        }
        let all = self.0.iter().map(|(fault, effect)| (format!("{fault:?}"), *effect));
        for (name, effect) in all.chain([("all".to_owned(), self.total())]) {
            let Effect { struck, kills, elections, lost_writes, lost_reads, .. } = effect;
            write!(f, "\n{name:>18} {struck:>11} {kills:>11} {elections:>11}")?;
            let stall = format!("{:.2} s", effect.stall.as_secs_f64());
            write!(f, " {lost_writes:>11} {lost_reads:>11} {stall:>11}")?;
            write!(f, " {:>11} {:>11}", effect.snapshots, effect.cancelled)?;
            write!(f, " {:>11} {:>11} {:>11}", effect.hindered, effect.torn, effect.strained)?;
        }
        Ok(())
    }
}
