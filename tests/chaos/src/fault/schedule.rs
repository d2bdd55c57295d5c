//! The faults of each environment, in random order.

use rand::rngs::StdRng;
use rand::seq::SliceRandom;

use super::Fault;
use super::environment::Environment;

/// Faults with their numbers in one deck.
type Table = &'static [(Fault, usize)];

const ONE_PROCESS: Table = &[
    (Fault::KillAll, 9),
    (Fault::StopLeader, 2),
    (Fault::KillTwice, 2),
    (Fault::KillStarting, 2),
    (Fault::KillCompacting, 2),
    (Fault::KillDefragmenting, 3),
];
const ONE_DISK: Table = &[
    (Fault::CutPowerOfOne, 4),
    (Fault::CutPowerCompacting, 2),
    (Fault::CutPowerDefragmenting, 2),
    (Fault::CutPowerStarting, 2),
];
const PROCESSES: Table = &[
    (Fault::KillLeader, 8),
    (Fault::KillFollower, 4),
    (Fault::KillMajority, 2),
    (Fault::KillAll, 3),
    (Fault::KillTwice, 3),
    (Fault::KillStarting, 2),
    (Fault::KillCompacting, 2),
    (Fault::KillDefragmenting, 2),
    (Fault::FallBehind, 1),
    (Fault::KillReceivingSnapshot, 1),
];
const NETWORK: Table = &[
    (Fault::StopLeader, 1),
    (Fault::PauseLeader, 3),
    (Fault::PauseLeaderBriefly, 1),
    (Fault::PauseFollower, 1),
    (Fault::IsolateLeader, 3),
    (Fault::IsolateFollower, 1),
    (Fault::IsolateAll, 1),
    (Fault::DropFromLeader, 2),
    (Fault::DropToLeader, 2),
    (Fault::OneWayRing, 1),
    (Fault::ClosePeerPort, 1),
    (Fault::Flap, 2),
    (Fault::LosePackets, 1),
    (Fault::ReplaceMember, 2),
    (Fault::FallBehindRunning, 1),
];
const PROXIES: Table =
    &[(Fault::DelayTraffic, 1), (Fault::CorruptTraffic, 1), (Fault::HoldTraffic, 1)];
const DISKS: Table = &[
    (Fault::CutPowerOfOne, 2),
    (Fault::CutPowerOfAll, 2),
    (Fault::FillDisk, 1),
    (Fault::HangDisk, 1),
    (Fault::SlowDisks, 1),
];
const CLOCKS: Table = &[(Fault::JumpClock, 1), (Fault::StrobeClocks, 1)];
const FIVE_MACHINES: Table = &[
    (Fault::Bridge, 4),
    (Fault::ClosePeerPort, 1),
    (Fault::KillLeader, 1),
    (Fault::PauseLeader, 2),
    (Fault::IsolateLeader, 2),
    (Fault::IsolateFollower, 1),
    (Fault::IsolateAll, 1),
    (Fault::DropFromLeader, 1),
    (Fault::DropToLeader, 1),
    (Fault::Flap, 1),
    (Fault::LosePackets, 1),
    (Fault::ReplaceMember, 1),
];
const OVERLOAD: Table = &[
    (Fault::PauseWatches, 1),
    (Fault::UnreadRanges, 1),
    (Fault::UnreadWatches, 1),
    (Fault::SilentConnections, 1),
    (Fault::CancelRanges, 1),
    (Fault::SlowFollower, 1),
    (Fault::BlockLogs, 1),
];

fn table(environment: Environment) -> Table {
    match environment {
        Environment::OneProcess => ONE_PROCESS,
        Environment::OneDisk => ONE_DISK,
        Environment::Processes => PROCESSES,
        Environment::Network => NETWORK,
        Environment::Proxies => PROXIES,
        Environment::Disks => DISKS,
        Environment::Clocks => CLOCKS,
        Environment::FiveMachines => FIVE_MACHINES,
        Environment::Overload => OVERLOAD,
    }
}

/// An endless series of faults: shuffled decks that hold each fault as often as the table of the
/// environment says.
#[derive(Debug)]
pub struct Schedule {
    table: Vec<(Fault, usize)>,
    rng: StdRng,
    deck: Vec<Fault>,
}

impl Schedule {
    /// The faults of an environment, or the one of them that `only` names.
    ///
    /// # Panics
    /// When the environment has no such fault.
    pub fn new(environment: Environment, rng: StdRng, only: Option<&str>) -> Self {
        let mut table = table(environment).to_vec();
        table.retain(|(fault, _)| only.is_none_or(|only| format!("{fault:?}") == only));
        assert!(!table.is_empty(), "{environment:?} has no fault {only:?}");
        Self { table, rng, deck: Vec::new() }
    }
}

impl Iterator for Schedule {
    type Item = Fault;

    fn next(&mut self) -> Option<Fault> {
        if self.deck.is_empty() {
            let all = self.table.iter();
            self.deck = all.flat_map(|(fault, times)| vec![*fault; *times]).collect();
            self.deck.shuffle(&mut self.rng);
        }
        self.deck.pop()
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    fn schedule(only: Option<&str>) -> Schedule {
        Schedule::new(Environment::Processes, StdRng::seed_from_u64(1), only)
    }

    #[test]
    fn each_deck_holds_every_fault_as_often_as_the_table_says() {
        let size = PROCESSES.iter().map(|(_, times)| times).sum();
        let mut schedule = schedule(None);
        for _ in 0..2 {
            let deck: Vec<Fault> = schedule.by_ref().take(size).collect();
            for (fault, times) in PROCESSES {
                assert_eq!(deck.iter().filter(|drawn| *drawn == fault).count(), *times);
            }
        }
    }

    #[test]
    fn a_schedule_can_be_limited_to_one_fault() {
        let mut faults = schedule(Some("KillAll")).take(10);
        assert!(faults.all(|fault| fault == Fault::KillAll));
    }

    #[test]
    #[should_panic(expected = "Processes has no fault")]
    fn a_fault_of_another_environment_is_refused() {
        schedule(Some("FillDisk"));
    }
}
