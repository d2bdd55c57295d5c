//! Mistakes that the server makes on purpose, to prove that the tests find them.
//!
//! This is for tests only. A server that is built with the feature `planted` makes the one mistake
//! that `$QUORATE_PLANTED` names. The code calls [`has`] or another function of this module at each
//! place where it can make a mistake. Without the feature, these functions always return `false`,
//! and the compiler removes the calls.
//!
//! A release build with the feature does not compile. The feature needs debug assertions in this
//! package; the profile `planted` has them, and the profile `release` does not.

#[cfg(all(feature = "planted", not(debug_assertions)))]
compile_error!(
    "the feature `planted` needs the profile `planted`: a release build must not have this feature"
);

/// A mistake that the server can make on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mistake {
    /// The log is written, but not synced.
    SkipSync,
    /// The log acknowledges entries before it writes them.
    AcknowledgeBeforeWrite,
    /// A voter grants its vote to a candidate whose log is behind.
    GrantStaleVote,
    /// The vote is not written.
    LoseVote,
    /// A follower answers linearizable reads without asking the leader.
    StaleReadAtFollower,
    /// A leader answers linearizable reads without confirming its leadership with a quorum.
    UnconfirmedLeaderRead,
    /// Watchers miss an event now and then.
    DropEvent,
    /// Watchers get an event twice now and then.
    RepeatEvent,
    /// A flush does not record the log position up to which the database is complete.
    AppliedOutside,
    /// Now and then, a put writes a version number that depends on the process.
    RandomApply,
    /// An added member gets the id of a removed member.
    ReuseMemberId,
    /// A new leader expires leases before their time.
    LoseLeaseTime,
    /// The proposer retries a command that may have been applied.
    ProposeTwice,
    /// Compaction also deletes history above its revision.
    CompactTooMuch,
    /// A snapshot for another member lacks some rows, and the receiver does not check the number
    /// of rows.
    IncompleteSnapshot,
    /// Watchers get a wrong previous value now and then.
    WrongPrevious,
    /// A watch continues although an installed snapshot removed history that the watch must read.
    HideGap,
    /// A stream's task does not learn that its buffer has room for events again.
    LoseWakeUp,
    /// Logging blocks the caller until the line is written.
    BlockOnLog,
    /// All streams with slow watches read history at the same time.
    ReadAtOnce,
    /// The memory budget has no limit.
    ForgetBudget,
    /// Memory is not returned to the budget.
    LeakBudget,
    /// A leader keeps sending heartbeats although no quorum answers them.
    BeatAlone,
    /// Entries stay in the log after they are flushed to the database.
    KeepLog,
    /// The member ignores how much space its disk has.
    IgnoreRoom,
    /// A call runs to its end after its client has given up.
    WorkAfterCancel,
    /// A long answer keeps its first view of the store until its last piece is sent.
    KeepView,
}

impl Mistake {
    /// All mistakes.
    pub const ALL: [Self; 27] = [
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
        Self::WorkAfterCancel,
        Self::KeepView,
    ];

    /// The name of the mistake in `$QUORATE_PLANTED`.
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
            Self::WorkAfterCancel => "work-after-cancel",
            Self::KeepView => "keep-view",
        }
    }
}

pub use answers::{has, in_this_process, once_in};

#[cfg(not(feature = "planted"))]
mod answers {
    use super::Mistake;

    /// Whether the server makes this mistake: always false without the feature `planted`.
    pub const fn has(_mistake: Mistake) -> bool {
        false
    }

    /// Whether this call makes the mistake: always false without the feature `planted`.
    pub const fn once_in(_mistake: Mistake, _times: u64) -> bool {
        false
    }

    /// Whether this process makes the mistake at `_place`: always false without the feature.
    pub const fn in_this_process(_mistake: Mistake, _place: i64) -> bool {
        false
    }
}

#[cfg(feature = "planted")]
mod answers {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::Mistake;

    /// Whether the server makes this mistake.
    ///
    /// # Panics
    /// If `$QUORATE_PLANTED` names no known mistake.
    pub fn has(mistake: Mistake) -> bool {
        static CHOSEN: OnceLock<Option<Mistake>> = OnceLock::new();
        *CHOSEN.get_or_init(chosen) == Some(mistake)
    }

    /// Whether this call makes the mistake: one call in `times` does.
    pub fn once_in(mistake: Mistake, times: u64) -> bool {
        static ASKED: AtomicU64 = AtomicU64::new(1);
        has(mistake) && ASKED.fetch_add(1, Ordering::Relaxed).is_multiple_of(times)
    }

    /// Whether this process makes the mistake at `place`: one place in 200, chosen by the process
    /// id.
    pub fn in_this_process(mistake: Mistake, place: i64) -> bool {
        has(mistake) && (place + i64::from(std::process::id())) % 200 == 0
    }

    #[expect(clippy::disallowed_methods, reason = "no release has this function")]
    fn chosen() -> Option<Mistake> {
        let name = std::env::var("QUORATE_PLANTED").ok()?;
        let chosen = Mistake::ALL.into_iter().find(|mistake| mistake.name() == name);
        Some(chosen.unwrap_or_else(|| panic!("no mistake has the name {name}")))
    }
}
