//! Faults of a single member, and the environments that faults need.

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
    /// SIGTERM: an orderly stop, with requests in flight.
    Terminate,
    /// SIGKILL, and again as soon as the member serves.
    KillTwice,
    /// SIGKILL, and again while the member starts, several times.
    KillStarting,
    /// SIGKILL while the member flushes and deletes compacted history.
    KillCompacting,
    /// SIGKILL while the member rewrites its database.
    KillDefragmenting,
    /// A power cut, which loses everything that was not synced.
    CutPower,
    /// A power cut while the member flushes and deletes compacted history.
    CutPowerCompacting,
    /// A power cut while the member rewrites its database.
    CutPowerDefragmenting,
    /// A power cut, and again while the member starts.
    CutPowerStarting,
}

impl Fault {
    /// Whether the fault loses unsynced data.
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

/// The faults of a deck of kills, with their numbers.
const KILLS: &[(Fault, usize)] = &[
    (Fault::Kill, 9),
    (Fault::Terminate, 2),
    (Fault::KillTwice, 2),
    (Fault::KillStarting, 2),
    (Fault::KillCompacting, 2),
    (Fault::KillDefragmenting, 3),
];
/// The faults of a deck of power cuts, with their numbers.
const POWER_LOSSES: &[(Fault, usize)] = &[
    (Fault::CutPower, 4),
    (Fault::CutPowerCompacting, 2),
    (Fault::CutPowerDefragmenting, 2),
    (Fault::CutPowerStarting, 2),
];

/// An endless series of faults: shuffled decks that hold each fault as often as its table says.
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

    /// Faults that cut the power.
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
