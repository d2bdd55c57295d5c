//! What faults did, so that nobody takes a fault that does nothing for one that is survived.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};
use std::time::Duration;

use crate::fault::cluster::ClusterFault;
use crate::history::{Moment, Observation, Observed, Operation, Outcome};

/// So often a fault must have struck before it can be said that it does nothing.
const STRUCK_MIN: usize = 2;
/// Writes that stand still for so long were stopped by something.
const STALL: Duration = Duration::from_millis(500);
/// While a majority is healthy, writes may not stand still for longer, however busy the machine is.
const STALL_MAX: Duration = Duration::from_secs(10);
/// The same where times are measured and the leader stays.
const MEASURED_STALL_MAX: Duration = Duration::from_secs(2);
/// The same where another leader has to be found.
const MEASURED_ELECTION_MAX: Duration = Duration::from_secs(5);

/// The last columns of the table of effects.
const LATER_COLUMNS: [&str; 5] = ["snapshots", "cancelled", "hindered", "torn", "strained"];

/// What came of one fault, or of several of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Effect {
    /// Faults.
    pub struck: usize,
    /// Processes that got a SIGKILL.
    pub kills: usize,
    /// Processes that ended by themselves.
    pub ended: usize,
    /// Times that there was another leader, or a later term, afterwards.
    pub elections: usize,
    /// Requests whose outcome nobody knows, and that may have written.
    pub lost_writes: usize,
    /// The others.
    pub lost_reads: usize,
    /// The longest time without an acknowledged write.
    pub stall: Duration,
    /// Snapshots that were taken in.
    pub snapshots: usize,
    /// Watches that were cancelled, as what they had yet to be told was compacted.
    pub cancelled: usize,
    /// Lines of logs that tell of a wrong time.
    pub wrong_times: usize,
    /// Packets that a network lost, or pieces that a proxy lost, delayed or held back.
    pub hindered: u64,
    /// Snapshots that were on their way when the member that received them was killed.
    pub torn: usize,
    /// How often members were asked too much: connections, ranges or watches that nobody reads,
    /// ranges that were given up, pauses, lines of logs.
    pub strained: usize,
}

impl Effect {
    /// Takes note of what clients saw that were told to stop at a moment, which counts as the last
    /// write: what stands still then has stood still since the one before, and what comes later
    /// comes from those alone who still waited.
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

    /// Takes note of what watches were told.
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

    /// Whether there is what one such fault must lead to every time.
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

    /// Whether there is what such a fault must lead to, if it strikes often.
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

/// The longest time without an acknowledged write that a fault may lead to, if it leaves a healthy
/// majority: a wide one, and a narrower one where times are measured. `leader_stayed` says that
/// the fault struck another member than the leader.
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

/// What came of all faults, by kind.
#[derive(Clone, Debug, Default)]
pub struct Effects(BTreeMap<ClusterFault, Effect>);

impl Effects {
    /// Takes note of one fault.
    pub fn add(&mut self, fault: ClusterFault, effect: Effect) {
        self.0.entry(fault).or_default().add(effect);
    }

    /// All together.
    pub fn total(&self) -> Effect {
        let mut total = Effect::default();
        self.0.values().for_each(|effect| total.add(*effect));
        total
    }

    /// The faults that struck often and never did what they are meant to do.
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
