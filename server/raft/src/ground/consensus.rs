//! The interface of consensus for the rest of the server.

use std::any::Any;
use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use quorate_core::{Refusal, Reply};
use tokio::sync::watch;

/// A future that a trait object can return.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The state machine's answer to a log entry; `None` for entries that are not commands.
pub type Answer = Option<Result<Reply, Refusal>>;

/// The resources that a proposal holds until it is applied or given up, for example its part of a
/// limit. They outlive the client's wait, because a proposal stays queued when its client is gone.
/// Clones share them.
#[derive(Clone, Default)]
pub struct Holding(Option<Arc<dyn Any + Send + Sync>>);

impl Holding {
    /// Keeps `held` until the last clone is dropped.
    pub(crate) fn new(held: impl Any + Send + Sync) -> Self {
        Self(Some(Arc::new(held)))
    }
}

impl Debug for Holding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Holding").field(&self.0.is_some()).finish()
    }
}

/// Why a call to consensus failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// The asked member does not lead.
    #[error("this member does not lead")]
    NotLeader {
        /// The leader, if known.
        leader: Option<u64>,
    },
    /// Another leader took over while the proposal was in flight. It is unknown whether the command
    /// was or will be applied.
    #[error("the leader changed while the proposal was in flight")]
    LeaderChanged,
    /// The member is stopping, or has stopped because of a fault.
    #[error("the member has stopped")]
    Stopped,
}

/// The member's term and leader.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RaftStatus {
    /// The current term.
    pub term: u64,
    /// The leader; `None` without one.
    pub leader: Option<u64>,
}

/// Consensus of the members on the order of commands.
pub trait Consensus: Send + Sync {
    /// Proposes an encoded command, through the leader if another member leads, and waits until it
    /// is applied here. Waits while there is no leader. After an error or a dropped future, the
    /// command may still be applied; `held` is kept until it is, or never will be.
    fn propose(&self, payload: Bytes, held: Holding) -> BoxFuture<'_, Result<Answer, Unavailable>>;

    /// Proposes an encoded command only if this member leads in `term`.
    fn propose_in(&self, term: u64, payload: Bytes) -> BoxFuture<'_, Result<Answer, Unavailable>>;

    /// The read index: once entries up to it are applied, a read sees every write acknowledged
    /// before this call. The leader confirms its leadership anew for each call.
    fn read_index(&self) -> BoxFuture<'_, Result<u64, Unavailable>>;

    /// The current term and leader.
    fn status_now(&self) -> RaftStatus;

    /// A receiver of the current term and leader, and of every change.
    fn status(&self) -> watch::Receiver<RaftStatus>;

    /// Index of the last entry that this member knows to be committed; 0 without one.
    fn committed(&self) -> u64;

    /// Starts a flush of everything applied, unless one is running. Does not wait for its end.
    fn flush(&self) -> BoxFuture<'_, ()>;

    /// Purges log entries that the last flush made redundant, except the newest ones, which lagging
    /// members may need. Entries up to index `beyond` are purged in any case.
    fn trim_log(&self, beyond: Option<u64>) -> BoxFuture<'_, ()>;

    /// Stops the raft protocol on this member.
    fn shutdown(&self) -> BoxFuture<'_, ()>;
}
