//! What faults did, so that nobody takes a fault that does nothing for one that is survived.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};
use std::time::Duration;

use crate::fault::cluster::ClusterFault;
use crate::history::{Observation, Observed, Operation, Outcome};

/// So often a fault must have struck before it can be said that it does nothing.
const STRUCK_MIN: usize = 4;
/// Writes that stand still for so long were stopped by something.
const STALL: Duration = Duration::from_millis(500);

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
    /// Requests whose outcome nobody knows.
    pub unknown: usize,
    /// The longest time without an acknowledged write.
    pub stall: Duration,
    /// Snapshots that were taken in.
    pub snapshots: usize,
    /// Watches that were cancelled, as what they had yet to be told was compacted.
    pub cancelled: usize,
    /// Lines of logs that tell of a wrong time.
    pub wrong_times: usize,
}

impl Effect {
    /// Takes note of what clients saw.
    pub fn note(&mut self, operations: &[Operation]) {
        let unknown = operations.iter().filter(|operation| operation.is_unknown());
        self.unknown += unknown.count();
        let writes = operations.iter().filter(|operation| {
            operation.request.may_write() && matches!(operation.outcome, Outcome::Answered(_))
        });
        let mut moments: Vec<Duration> = writes.map(|write| write.returned.elapsed).collect();
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
        self.unknown += other.unknown;
        self.stall = self.stall.max(other.stall);
        self.snapshots += other.snapshots;
        self.cancelled += other.cancelled;
        self.wrong_times += other.wrong_times;
    }

    /// Whether there is what such a fault must lead to.
    fn bites(&self, fault: ClusterFault) -> bool {
        use ClusterFault as F;
        match fault {
            F::KillLeader | F::KillTwice | F::KillAll | F::CutPowerOfAll => {
                self.kills > 0 && self.elections > 0
            }
            F::PauseLeader | F::IsolateLeader | F::MuteLeader | F::StopLeader | F::HangDisk => {
                self.elections > 0
            }
            F::KillMajority | F::Scatter => self.stall >= STALL,
            F::KillOther | F::KillStarting | F::KillCompacting | F::KillDefragmenting => {
                self.kills > 0 && self.unknown > 0
            }
            F::CutPowerOfOne | F::IsolateOther | F::PauseOther => self.unknown > 0,
            F::Outdate | F::KillReceiving | F::Replace => self.snapshots > 0,
            F::OutdateAlive => self.snapshots > 0 && self.cancelled > 0,
            F::DeafenLeader | F::Ring | F::Flap | F::Mutilate => {
                self.elections > 0 || self.unknown > 0 || self.stall >= STALL
            }
            F::PauseBriefly | F::LosePackets | F::Delay | F::Hold => {
                self.unknown > 0 || self.stall >= STALL / 5
            }
            F::FillDisk => self.ended > 0,
            F::JumpClock | F::StrobeClocks => self.wrong_times > 0,
        }
    }
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
        let head = ["fault", "struck", "kills", "elections", "unknown", "stall", "snapshots"];
        let [fault, struck, kills, elections, unknown, stall, snapshots] = head;
        writeln!(
            f,
            "{fault:>18} {struck:>7} {kills:>6} {elections:>9} {unknown:>8} {stall:>8} \
             {snapshots:>9}"
        )?;
        let all = self.0.iter().map(|(fault, effect)| (format!("{fault:?}"), *effect));
        for (name, effect) in all.chain([("all".to_owned(), self.total())]) {
            let Effect { struck, kills, elections, unknown, stall, snapshots, .. } = effect;
            let stall = format!("{:.2} s", stall.as_secs_f64());
            writeln!(
                f,
                "{name:>18} {struck:>7} {kills:>6} {elections:>9} {unknown:>8} {stall:>8} \
                 {snapshots:>9}"
            )?;
        }
        Ok(())
    }
}
