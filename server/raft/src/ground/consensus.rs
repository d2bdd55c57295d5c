//! Consensus as the rest of the server sees it.

use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;
use quorate_core::{Refusal, Reply};
use tokio::sync::watch;

/// A future that a trait object can return.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The answer of the state machine to a log entry; `None` for entries that are not commands.
pub type Answer = Option<Result<Reply, Refusal>>;

/// Why consensus gave no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// The member that was asked does not lead.
    #[error("this member does not lead")]
    NotLeader {
        /// Who leads, if that is known.
        leader: Option<u64>,
    },
    /// Another leader took over while the proposal was under way: whether it was carried out is not
    /// known.
    #[error("the leader changed while the proposal was under way")]
    LeaderChanged,
    /// The member is stopping, or has stopped because of a fault.
    #[error("the member has stopped")]
    Stopped,
}

/// Where this member stands in the protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RaftStatus {
    /// The current term.
    pub term: u64,
    /// Who leads; `None` when nobody does.
    pub leader: Option<u64>,
}

/// Agreement among the members on the order of commands.
pub trait Consensus: Send + Sync {
    /// Proposes an encoded command, by way of the leader if that is another member, and waits until
    /// it is applied here. Waits for a leader as long as there is none. What was proposed may be
    /// carried out even when the future is dropped or fails.
    fn propose(&self, payload: Bytes) -> BoxFuture<'_, Result<Answer, Unavailable>>;

    /// Proposes an encoded command only if this member leads, and in this term.
    fn propose_in(&self, term: u64, payload: Bytes) -> BoxFuture<'_, Result<Answer, Unavailable>>;

    /// The log index up to which the state machine must have come for a read to see everything that
    /// was acknowledged before the call. The leader confirms its leadership afresh each time.
    fn read_index(&self) -> BoxFuture<'_, Result<u64, Unavailable>>;

    /// Where the member stands.
    fn status_now(&self) -> RaftStatus;

    /// Tells where the member stands, now and whenever that changes.
    fn status(&self) -> watch::Receiver<RaftStatus>;

    /// Index of the last entry that this member knows to be committed.
    fn committed(&self) -> u64;

    /// Flushes what was applied, without waiting for the end.
    fn flush(&self) -> BoxFuture<'_, ()>;

    /// Lets the log forget what the last flush made unnecessary, but for the last entries, which
    /// members that lag behind may want; those up to `beyond` go all the same.
    fn trim_log(&self, beyond: Option<u64>) -> BoxFuture<'_, ()>;

    /// Stops taking part.
    fn shutdown(&self) -> BoxFuture<'_, ()>;
}
