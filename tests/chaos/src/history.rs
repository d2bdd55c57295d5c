//! The record of requests, responses and watch messages.
//!
//! An operation keeps its request and response as on the wire. One [`Clock`] for all clients of a
//! campaign stamps its beginning and end, so that "before" is a total order.

mod operation;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

pub use operation::{Operation, Outcome, Request, Response};
use quorate_proto::etcdserverpb::{WatchCreateRequest, WatchResponse};
use quorate_proto::mvccpb::Event;

/// A point in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment {
    /// Position in the order of all moments of the clock. It is unique.
    pub order: u64,
    /// Time since the clock was created.
    pub elapsed: Duration,
}

/// Creates moments. Clones share one clock.
#[derive(Clone, Debug)]
pub struct Clock(Arc<ClockState>);

#[derive(Debug)]
struct ClockState {
    moments: AtomicU64,
    operations: AtomicU64,
    start: Instant,
}

impl Clock {
    /// A clock that starts now.
    #[expect(clippy::new_without_default, reason = "it starts to run: that is to be seen")]
    pub fn new() -> Self {
        let moments = AtomicU64::new(1);
        let operations = AtomicU64::new(1);
        Self(Arc::new(ClockState { moments, operations, start: Instant::now() }))
    }

    /// The current moment, ordered after every moment returned before.
    pub fn now(&self) -> Moment {
        let order = self.0.moments.fetch_add(1, Ordering::SeqCst);
        Moment { order, elapsed: self.0.start.elapsed() }
    }

    /// A new, unique operation id.
    pub fn operation_id(&self) -> u64 {
        self.0.operations.fetch_add(1, Ordering::SeqCst)
    }
}

/// A step of a watch, as its client saw it.
#[derive(Clone, Debug)]
pub struct Observation {
    /// The watch. A resumed watch keeps its number.
    pub watch: u64,
    /// The member that serves the watch.
    pub member: usize,
    /// When the client sent the request or received the message.
    pub at: Moment,
    /// The request or the message.
    pub what: Observed,
}

/// A watch request or a watch response.
#[derive(Clone, Debug)]
pub enum Observed {
    /// The client created the watch, or resumed it after an interruption.
    Requested(WatchCreateRequest),
    /// A message from the member.
    Received(WatchResponse),
}

/// The reference for all checks: the events that a member reports as written.
#[derive(Clone, Debug)]
pub struct Audit {
    /// Every event above the revision of the last audit, with previous values, in the order of a
    /// watch.
    pub events: Vec<Event>,
    /// A moment between the operations and the reads of the audit: every operation had ended before
    /// it or could no longer take effect, and everything here was read after it.
    pub since: Moment,
    /// When the audit had read everything.
    pub until: Moment,
}

/// Everything between one audit and the next.
#[derive(Clone, Debug)]
pub struct History {
    /// The operations of all clients, including those of the audit.
    pub operations: Vec<Operation>,
    /// The watch steps, in order for each watch.
    pub observations: Vec<Observation>,
    /// The events that were written.
    pub audit: Audit,
}
