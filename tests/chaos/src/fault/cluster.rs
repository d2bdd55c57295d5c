//! What can befall a cluster, or some of its members.

use rand::rngs::StdRng;
use rand::seq::SliceRandom;

/// A fault. "One" is any member, "other" any but the leader.
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
    /// SIGKILL to the leader, and to the next one as soon as it leads.
    KillTwice,
    /// SIGKILL to one, and again while it starts, several times.
    KillStarting,
    /// SIGKILL to one while it deletes compacted history.
    KillCompacting,
    /// SIGKILL to one while it rewrites its database.
    KillDefragmenting,
    /// SIGKILL to another member, which comes back when the others have forgotten the log that it
    /// needs: it is sent a snapshot.
    Outdate,
    /// Another member is alone until the others have forgotten the log that it needs, and the
    /// history that its watches have yet to be told: it takes in a snapshot while it serves.
    OutdateAlive,
    /// The same as for [`Outdate`](Self::Outdate), and SIGKILL again and again while it takes in
    /// the snapshot.
    KillReceiving,
    /// SIGTERM to the leader.
    StopLeader,
    /// The leader is stopped for longer than an election takes, by SIGSTOP.
    PauseLeader,
    /// The leader is stopped for less than an election takes.
    PauseBriefly,
    /// Another member is stopped.
    PauseOther,
    /// The leader is alone.
    IsolateLeader,
    /// Another member is alone.
    IsolateOther,
    /// Each is alone.
    Scatter,
    /// What the leader sends is lost; it hears the others.
    MuteLeader,
    /// The leader hears nobody; what it sends arrives.
    DeafenLeader,
    /// Each hears one other only, in a ring.
    Ring,
    /// One of five is alone, and the leader reaches but one of the others, without which they are
    /// no majority.
    BridgeLeader,
    /// One is not reached at its port, although it reaches the others, of which so many end that
    /// the rest is no majority without it.
    ClosePort,
    /// One is alone, for short times again and again.
    Flap,
    /// Packets to all are lost now and then.
    LosePackets,
    /// One is removed and its data are lost; it is added again as a new member.
    Replace,
    /// What members send to each other arrives late.
    Delay,
    /// What members send to each other is mutilated.
    Mutilate,
    /// What members send to one is held back; its connections stay open.
    Hold,
    /// One loses power, and with it everything that was not synced.
    CutPowerOfOne,
    /// All lose power.
    CutPowerOfAll,
    /// The disk of one is full.
    FillDisk,
    /// The disk of the leader finishes nothing for a while.
    HangDisk,
    /// The clock of one jumps by up to ten years, and back.
    JumpClock,
    /// The clocks of all jump to and fro.
    StrobeClocks,
    /// The disks of all but the leader finish little: they hang again and again.
    SlowDisks,
    /// Clients stop reading their watches while much is written, and go on later.
    PauseReaders,
    /// Clients ask one for all there is, again and again, and do not read the answers.
    IgnoreAnswers,
    /// Many clients watch everything at one, from the oldest revision on, and read nothing.
    Herd,
    /// More connections than there are descriptors say nothing, at clients' and peers' ports.
    SilentConnections,
    /// Clients give up ranges that take long, again and again.
    CancelRanges,
    /// Another member gets little of a processor.
    SlowFollower,
    /// The logs of all go to pipes that stand still, while there is much to be said.
    BlockLogs,
}

impl ClusterFault {
    /// Whether clients or disks ask too much of members, which all go on.
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

/// How often which fault comes among those that end processes.
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
/// The same for those that leave processes alone, on machines with a network between them.
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

/// Where a cluster lives, which says what can befall it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ground {
    /// On this machine, where processes end.
    Processes,
    /// On machines of their own, with a network between them that can be split.
    Network,
    /// Behind proxies that distort what members send to each other.
    Proxies,
    /// On disks of their own.
    Disks,
    /// With clocks of their own.
    Clocks,
    /// Five of them, on machines of their own like those of [`Network`](Self::Network).
    FiveMachines,
    /// On this machine, each with one processor and few descriptors; clients and others ask too
    /// much of them.
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

    /// How many members there are.
    pub fn size(self) -> usize {
        match self {
            Self::FiveMachines => 5,
            _ => 3,
        }
    }
}

/// Faults in random order, each as often as it is meant to be.
#[derive(Debug)]
pub struct ClusterDeck {
    ground: Ground,
    rng: StdRng,
    drawn: Vec<ClusterFault>,
}

impl ClusterDeck {
    /// The faults that belong to a ground.
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
