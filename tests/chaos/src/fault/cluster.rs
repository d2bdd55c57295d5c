//! Faults of a cluster or of some of its members.

use rand::rngs::StdRng;
use rand::seq::SliceRandom;

/// A fault. "One" is any member, "another member" is any but the leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ClusterFault {
    /// SIGKILL to the leader.
    KillLeader,
    /// SIGKILL to another member.
    KillOther,
    /// SIGKILL to all but one.
    KillMajority,
    /// SIGKILL to all.
    KillAll,
    /// SIGKILL to the leader, and to its successor as soon as that one leads.
    KillTwice,
    /// SIGKILL to one, and again while it starts, several times.
    KillStarting,
    /// SIGKILL to one while it deletes compacted history.
    KillCompacting,
    /// SIGKILL to one while it rewrites its database.
    KillDefragmenting,
    /// SIGKILL to another member. When it restarts, the others no longer have the log that it
    /// needs, so it gets a snapshot.
    Outdate,
    /// Another member is isolated until the others have dropped the log that it needs and the
    /// history that its watches have not received: it installs a snapshot while it serves.
    OutdateAlive,
    /// The same as [`Outdate`](Self::Outdate), with SIGKILL while the member receives the snapshot.
    KillReceiving,
    /// SIGTERM to the leader.
    StopLeader,
    /// SIGSTOP to the leader, for longer than an election takes.
    PauseLeader,
    /// SIGSTOP to the leader, for less than an election takes.
    PauseBriefly,
    /// SIGSTOP to another member.
    PauseOther,
    /// The leader is isolated.
    IsolateLeader,
    /// Another member is isolated.
    IsolateOther,
    /// Every member is isolated.
    Scatter,
    /// The leader's packets are lost; it still receives those of the others.
    MuteLeader,
    /// Packets to the leader are lost; the others still receive its packets.
    DeafenLeader,
    /// Each member receives packets from one neighbour only, in a ring.
    Ring,
    /// One of five is isolated, and the leader reaches only one other member, without which the
    /// rest has no majority.
    BridgeLeader,
    /// The peer port of one is closed, while it still reaches the others. So many others are killed
    /// that the rest has no majority without it.
    ClosePort,
    /// One is isolated several times, briefly.
    Flap,
    /// Some packets to all members are lost.
    LosePackets,
    /// One is removed and loses its data; a new member replaces it.
    Replace,
    /// Traffic between members is delayed.
    Delay,
    /// Traffic between members is corrupted by missing pieces.
    Mutilate,
    /// Traffic to one is held back while its connections stay open.
    Hold,
    /// A power cut of one, which loses everything that was not synced.
    CutPowerOfOne,
    /// A power cut of all.
    CutPowerOfAll,
    /// The disk of one is full.
    FillDisk,
    /// The disk of the leader hangs for a while.
    HangDisk,
    /// The clock of one jumps by up to ten years, and back.
    JumpClock,
    /// The clocks of all jump back and forth.
    StrobeClocks,
    /// The disks of all but the leader are slow: they hang several times.
    SlowDisks,
    /// Clients stop reading their watches during many writes, and continue later.
    PauseReaders,
    /// Clients request all keys from one many times and do not read the responses.
    IgnoreAnswers,
    /// Many clients open watches of all keys at one, from the oldest revision on, and read nothing.
    Herd,
    /// More silent connections to client and peer ports than the member has descriptors.
    SilentConnections,
    /// Clients abandon slow ranges many times.
    CancelRanges,
    /// Another member gets little processor time.
    SlowFollower,
    /// The logs of all go to blocked pipes while there is much to log.
    BlockLogs,
}

impl ClusterFault {
    /// Whether the fault overloads members that must all keep running.
    pub fn is_strain(self) -> bool {
        matches!(
            self,
            Self::SlowDisks
                | Self::PauseReaders
                | Self::IgnoreAnswers
                | Self::Herd
                | Self::SilentConnections
                | Self::CancelRanges
                | Self::SlowFollower
                | Self::BlockLogs
        )
    }
}

/// The faults of the ground of processes, with their numbers.
const KILLS: &[(ClusterFault, usize)] = &[
    (ClusterFault::KillLeader, 8),
    (ClusterFault::KillOther, 4),
    (ClusterFault::KillMajority, 2),
    (ClusterFault::KillAll, 3),
    (ClusterFault::KillTwice, 3),
    (ClusterFault::KillStarting, 2),
    (ClusterFault::KillCompacting, 2),
    (ClusterFault::KillDefragmenting, 2),
    (ClusterFault::Outdate, 1),
    (ClusterFault::KillReceiving, 1),
];
/// The faults of the ground with a network, with their numbers.
const PARTITIONS: &[(ClusterFault, usize)] = &[
    (ClusterFault::StopLeader, 1),
    (ClusterFault::PauseLeader, 3),
    (ClusterFault::PauseBriefly, 1),
    (ClusterFault::PauseOther, 1),
    (ClusterFault::IsolateLeader, 3),
    (ClusterFault::IsolateOther, 1),
    (ClusterFault::Scatter, 1),
    (ClusterFault::MuteLeader, 2),
    (ClusterFault::DeafenLeader, 2),
    (ClusterFault::Ring, 1),
    (ClusterFault::ClosePort, 1),
    (ClusterFault::Flap, 2),
    (ClusterFault::LosePackets, 1),
    (ClusterFault::Replace, 2),
    (ClusterFault::OutdateAlive, 1),
];
const DISTORTIONS: &[(ClusterFault, usize)] =
    &[(ClusterFault::Delay, 1), (ClusterFault::Mutilate, 1), (ClusterFault::Hold, 1)];
const DISK_FAULTS: &[(ClusterFault, usize)] = &[
    (ClusterFault::CutPowerOfOne, 2),
    (ClusterFault::CutPowerOfAll, 2),
    (ClusterFault::FillDisk, 1),
    (ClusterFault::HangDisk, 1),
    (ClusterFault::SlowDisks, 1),
];
const FIVE_MACHINES: &[(ClusterFault, usize)] = &[
    (ClusterFault::BridgeLeader, 4),
    (ClusterFault::ClosePort, 1),
    (ClusterFault::KillLeader, 1),
    (ClusterFault::PauseLeader, 2),
    (ClusterFault::IsolateLeader, 2),
    (ClusterFault::IsolateOther, 1),
    (ClusterFault::Scatter, 1),
    (ClusterFault::MuteLeader, 1),
    (ClusterFault::DeafenLeader, 1),
    (ClusterFault::Flap, 1),
    (ClusterFault::LosePackets, 1),
    (ClusterFault::Replace, 1),
];
const STRAINS: &[(ClusterFault, usize)] = &[
    (ClusterFault::PauseReaders, 1),
    (ClusterFault::IgnoreAnswers, 1),
    (ClusterFault::Herd, 1),
    (ClusterFault::SilentConnections, 1),
    (ClusterFault::CancelRanges, 1),
    (ClusterFault::SlowFollower, 1),
    (ClusterFault::BlockLogs, 1),
];
const CLOCK_FAULTS: &[(ClusterFault, usize)] =
    &[(ClusterFault::JumpClock, 1), (ClusterFault::StrobeClocks, 1)];

/// The environment of a cluster, which determines its faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ground {
    /// On this machine; processes are killed.
    Processes,
    /// On separate machines with a network between them that can be split.
    Network,
    /// Behind proxies that distort the traffic between members.
    Proxies,
    /// On separate disks.
    Disks,
    /// With separate clocks.
    Clocks,
    /// Five members on separate machines, as with [`Network`](Self::Network).
    FiveMachines,
    /// On this machine, each member with one worker thread and few descriptors; clients and others
    /// overload them.
    Strains,
}

impl Ground {
    fn faults(self) -> &'static [(ClusterFault, usize)] {
        match self {
            Self::Processes => KILLS,
            Self::Network => PARTITIONS,
            Self::Proxies => DISTORTIONS,
            Self::Disks => DISK_FAULTS,
            Self::Clocks => CLOCK_FAULTS,
            Self::FiveMachines => FIVE_MACHINES,
            Self::Strains => STRAINS,
        }
    }

    /// The number of members.
    pub fn size(self) -> usize {
        match self {
            Self::FiveMachines => 5,
            _ => 3,
        }
    }
}

/// An endless series of faults: shuffled decks that hold each fault as often as its table says.
#[derive(Debug)]
pub struct ClusterDeck {
    ground: Ground,
    rng: StdRng,
    drawn: Vec<ClusterFault>,
}

impl ClusterDeck {
    /// The faults of a ground.
    pub fn new(ground: Ground, rng: StdRng) -> Self {
        Self { ground, rng, drawn: Vec::new() }
    }
}

impl Iterator for ClusterDeck {
    type Item = ClusterFault;

    fn next(&mut self) -> Option<ClusterFault> {
        if self.drawn.is_empty() {
            let all = self.ground.faults().iter();
            self.drawn = all.flat_map(|(fault, times)| vec![*fault; *times]).collect();
            self.drawn.shuffle(&mut self.rng);
        }
        self.drawn.pop()
    }
}
