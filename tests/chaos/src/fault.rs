//! Faults, and the environments that they need.

pub mod clock;
pub mod disk;
pub mod environment;
pub mod limits;
pub mod schedule;

/// A fault. In the descriptions of the faults, "one" means any one member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// SIGKILL to the leader.
    KillLeader,
    /// SIGKILL to a follower.
    KillFollower,
    /// SIGKILL to all but one.
    KillMajority,
    /// SIGKILL to all.
    KillAll,
    /// SIGKILL to the leader, and then to the next leader as soon as it leads. In a cluster of one
    /// member, the next leader is the same member after a restart.
    KillTwice,
    /// SIGKILL to one, repeated while that member starts again.
    KillStarting,
    /// SIGKILL to one while it deletes compacted history.
    KillCompacting,
    /// SIGKILL to one while it rewrites its database.
    KillDefragmenting,
    /// SIGKILL to a follower. When it restarts, the others no longer have the log that it needs, so
    /// it gets a snapshot.
    FallBehind,
    /// A follower is isolated until the others have dropped the log that it needs and the history
    /// that its watches have not received. So it installs a snapshot while it serves.
    FallBehindRunning,
    /// The same as [`FallBehind`](Self::FallBehind), with SIGKILL while the member receives the
    /// snapshot.
    KillReceivingSnapshot,
    /// SIGTERM to the leader: an orderly stop, with requests in flight.
    StopLeader,
    /// SIGSTOP to the leader, for longer than an election takes.
    PauseLeader,
    /// SIGSTOP to the leader, for less than an election takes.
    PauseLeaderBriefly,
    /// SIGSTOP to a follower.
    PauseFollower,
    /// The leader is isolated.
    IsolateLeader,
    /// A follower is isolated.
    IsolateFollower,
    /// Every member is isolated.
    IsolateAll,
    /// The leader's packets are lost; it still receives those of the others.
    DropFromLeader,
    /// Packets to the leader are lost; the others still receive its packets.
    DropToLeader,
    /// Each member receives packets from one neighbour only, in a ring.
    OneWayRing,
    /// One of five is isolated, and the leader reaches only one other member. The remaining two
    /// have no majority without that member.
    Bridge,
    /// The peer port of one is closed, while that member still reaches the others. Enough of the
    /// others are killed that the rest has no majority without that member.
    ClosePeerPort,
    /// One is isolated several times, briefly.
    Flap,
    /// Some packets to all members are lost.
    LosePackets,
    /// One is removed and loses its data; a new member replaces it.
    ReplaceMember,
    /// Traffic between members is delayed.
    DelayTraffic,
    /// Pieces of the traffic between members are missing.
    CorruptTraffic,
    /// Traffic to one is held back while its connections stay open.
    HoldTraffic,
    /// A power cut of one, which loses everything that was not synced.
    CutPowerOfOne,
    /// A power cut of all.
    CutPowerOfAll,
    /// A power cut of one while it flushes and deletes compacted history.
    CutPowerCompacting,
    /// A power cut of one while it rewrites its database.
    CutPowerDefragmenting,
    /// A power cut of one, repeated while that member starts again.
    CutPowerStarting,
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
    PauseWatches,
    /// Clients send many requests for all keys to one, and do not read the responses.
    UnreadRanges,
    /// Many clients open watches at one, for all keys and from the oldest revision on, and read
    /// nothing.
    UnreadWatches,
    /// Clients open more silent connections to the client and peer ports than a member has
    /// descriptors.
    SilentConnections,
    /// Clients abandon slow ranges many times.
    CancelRanges,
    /// A follower gets little processor time.
    SlowFollower,
    /// The outputs of all members' logs are blocked pipes, while the members have much to log.
    BlockLogs,
}

impl Fault {
    /// Whether the fault overloads members that must all keep running.
    pub fn is_overload(self) -> bool {
        matches!(
            self,
            Self::SlowDisks
                | Self::PauseWatches
                | Self::UnreadRanges
                | Self::UnreadWatches
                | Self::SilentConnections
                | Self::CancelRanges
                | Self::SlowFollower
                | Self::BlockLogs
        )
    }
}
