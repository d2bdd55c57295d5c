//! Mistakes that the server makes on purpose, to show that the tests find them.
//!
//! For tests alone. Only a program built with the feature `planted` makes any, and only the one
//! that `$QUORATE_PLANTED` names. Without the feature nothing of it is left: [`has`] and its like
//! are constants that say no. Each is asked at the place where the right thing is done.
//!
//! The profile `planted` switches debug assertions on for this package, and the profile `release`
//! has none: with the feature, a program for use does not build.

#[cfg(all(feature = "planted", not(debug_assertions)))]
compile_error!("a program for use makes no mistakes on purpose: build it with the profile planted");

/// A mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mistake {
    /// The log is written, but not synced.
    SkipSync,
    /// The log says that entries are durable, and writes them a little later.
    AcknowledgeBeforeWrite,
    /// A candidate gets votes whose log is behind.
    GrantStaleVote,
    /// The vote is not written.
    LoseVote,
    /// A follower answers linearizable reads without asking the leader.
    StaleReadAtFollower,
    /// Who takes itself for the leader answers linearizable reads without asking a quorum.
    UnconfirmedLeaderRead,
    /// Watches are not told of an event, now and then.
    DropEvent,
    /// Watches are told of an event twice, now and then.
    RepeatEvent,
    /// The database says that it has fewer entries than it has.
    AppliedOutside,
    /// What a put writes depends on the process, in rare cases.
    RandomApply,
    /// A member that is added gets the id of one that was removed.
    ReuseMemberId,
    /// A new leader ends leases whose time is not over.
    LoseLeaseTime,
    /// A command that may have been carried out is proposed again.
    ProposeTwice,
    /// Compaction takes away history above its revision, too.
    CompactTooMuch,
    /// The state that is sent to another member lacks some rows, and nobody counts them.
    IncompleteSnapshot,
    /// Watches are told a wrong previous value, now and then.
    WrongPrevious,
    /// Watches go on over history that a snapshot took away.
    HideGap,
    /// A stream's task is not told that there is room for its watches again.
    LoseWakeUp,
    /// A line of the log waits until it is written.
    BlockOnLog,
    /// All streams of watches that are behind read history at once.
    ReadAtOnce,
    /// The memory budget is without end.
    ForgetBudget,
    /// What was held of the memory budget is not given back.
    LeakBudget,
    /// A leader whose heartbeats no quorum answers goes on sending them.
    BeatAlone,
    /// What is in the database stays in the log as well.
    KeepLog,
    /// Nobody looks how much room a disk has.
    IgnoreRoom,
}

impl Mistake {
    /// All mistakes.
    pub const ALL: [Self; 25] = [
        Self::SkipSync,
        Self::AcknowledgeBeforeWrite,
        Self::GrantStaleVote,
        Self::LoseVote,
        Self::StaleReadAtFollower,
        Self::UnconfirmedLeaderRead,
        Self::DropEvent,
        Self::RepeatEvent,
        Self::AppliedOutside,
        Self::RandomApply,
        Self::ReuseMemberId,
        Self::LoseLeaseTime,
        Self::ProposeTwice,
        Self::CompactTooMuch,
        Self::IncompleteSnapshot,
        Self::WrongPrevious,
        Self::HideGap,
        Self::LoseWakeUp,
        Self::BlockOnLog,
        Self::ReadAtOnce,
        Self::ForgetBudget,
        Self::LeakBudget,
        Self::BeatAlone,
        Self::KeepLog,
        Self::IgnoreRoom,
    ];

    /// What `$QUORATE_PLANTED` calls it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::SkipSync => "skip-sync",
            Self::AcknowledgeBeforeWrite => "acknowledge-before-write",
            Self::GrantStaleVote => "grant-stale-vote",
            Self::LoseVote => "lose-vote",
            Self::StaleReadAtFollower => "stale-read-at-follower",
            Self::UnconfirmedLeaderRead => "unconfirmed-leader-read",
            Self::DropEvent => "drop-event",
            Self::RepeatEvent => "repeat-event",
            Self::AppliedOutside => "applied-outside",
            Self::RandomApply => "random-apply",
            Self::ReuseMemberId => "reuse-member-id",
            Self::LoseLeaseTime => "lose-lease-time",
            Self::ProposeTwice => "propose-twice",
            Self::CompactTooMuch => "compact-too-much",
            Self::IncompleteSnapshot => "incomplete-snapshot",
            Self::WrongPrevious => "wrong-previous",
            Self::HideGap => "hide-gap",
            Self::LoseWakeUp => "lose-wake-up",
            Self::BlockOnLog => "block-on-log",
            Self::ReadAtOnce => "read-at-once",
            Self::ForgetBudget => "forget-budget",
            Self::LeakBudget => "leak-budget",
            Self::BeatAlone => "beat-alone",
            Self::KeepLog => "keep-log",
            Self::IgnoreRoom => "ignore-room",
        }
    }
}

pub use answers::{has, in_this_process, once_in};

#[cfg(not(feature = "planted"))]
mod answers {
    use super::Mistake;

    /// Whether the server makes a mistake: no.
    pub const fn has(_mistake: Mistake) -> bool {
        false
    }

    /// Whether it makes it this time: no.
    pub const fn once_in(_mistake: Mistake, _times: u64) -> bool {
        false
    }

    /// Whether this process makes it here, which others do elsewhere: no.
    pub const fn in_this_process(_mistake: Mistake, _place: i64) -> bool {
        false
    }
}

#[cfg(feature = "planted")]
mod answers {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::Mistake;

    /// Whether the server makes a mistake.
    ///
    /// # Panics
    /// When `$QUORATE_PLANTED` is no mistake's name.
    pub fn has(mistake: Mistake) -> bool {
        static CHOSEN: OnceLock<Option<Mistake>> = OnceLock::new();
        *CHOSEN.get_or_init(chosen) == Some(mistake)
    }

    /// Whether it makes it this time, which is once in so many times.
    pub fn once_in(mistake: Mistake, times: u64) -> bool {
        static ASKED: AtomicU64 = AtomicU64::new(1);
        has(mistake) && ASKED.fetch_add(1, Ordering::Relaxed).is_multiple_of(times)
    }

    /// Whether this process makes it here, which others do elsewhere; at few places.
    pub fn in_this_process(mistake: Mistake, place: i64) -> bool {
        has(mistake) && (place + i64::from(std::process::id())) % 200 == 0
    }

    #[expect(clippy::disallowed_methods, reason = "no build for use has this")]
    fn chosen() -> Option<Mistake> {
        let name = std::env::var("QUORATE_PLANTED").ok()?;
        let chosen = Mistake::ALL.into_iter().find(|mistake| mistake.name() == name);
        Some(chosen.unwrap_or_else(|| panic!("there is no mistake {name}")))
    }
}
