//! What can befall a member.

pub mod clock;
pub mod cluster;
pub mod disk;
pub mod strain;

use rand::rngs::StdRng;
use rand::seq::SliceRandom;

/// A fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// SIGKILL.
    Kill,
    /// SIGTERM: an orderly stop, in the middle of requests.
    Terminate,
    /// SIGKILL, and again as soon as it serves.
    KillTwice,
    /// SIGKILL, and again while it starts, several times.
    KillStarting,
    /// SIGKILL while it flushes and deletes compacted history.
    KillCompacting,
    /// SIGKILL while it rewrites its database.
    KillDefragmenting,
    /// The power goes, and with it everything that was not synced.
    CutPower,
    /// The power goes while it flushes and deletes compacted history.
    CutPowerCompacting,
    /// The power goes while it rewrites its database.
    CutPowerDefragmenting,
    /// The power goes, and again while it starts.
    CutPowerStarting,
}

impl Fault {
    /// Whether unsynced data are lost.
    pub fn cuts_power(self) -> bool {
        matches!(
            self,
            Self::CutPower
                | Self::CutPowerCompacting
                | Self::CutPowerDefragmenting
                | Self::CutPowerStarting
        )
    }
}

/// How often which fault comes among kills.
const KILLS: &[(Fault, usize)] = &[
    (Fault::Kill, 9),
    (Fault::Terminate, 2),
    (Fault::KillTwice, 2),
    (Fault::KillStarting, 2),
    (Fault::KillCompacting, 2),
    (Fault::KillDefragmenting, 3),
];
/// How often which fault comes among power losses.
const POWER_LOSSES: &[(Fault, usize)] = &[
    (Fault::CutPower, 4),
    (Fault::CutPowerCompacting, 2),
    (Fault::CutPowerDefragmenting, 2),
    (Fault::CutPowerStarting, 2),
];

/// Faults in random order, each as often as it is meant to be.
#[derive(Debug)]
pub struct Deck {
    faults: &'static [(Fault, usize)],
    rng: StdRng,
    drawn: Vec<Fault>,
}

impl Deck {
    /// Faults that end the process.
    pub fn of_kills(rng: StdRng) -> Self {
        Self { faults: KILLS, rng, drawn: Vec::new() }
    }

    /// Faults that take the power.
    pub fn of_power_losses(rng: StdRng) -> Self {
        Self { faults: POWER_LOSSES, rng, drawn: Vec::new() }
    }
}

impl Iterator for Deck {
    type Item = Fault;

    fn next(&mut self) -> Option<Fault> {
        if self.drawn.is_empty() {
            let all = self.faults.iter().flat_map(|(fault, times)| vec![*fault; *times]);
            self.drawn = all.collect();
            self.drawn.shuffle(&mut self.rng);
        }
        self.drawn.pop()
    }
}
