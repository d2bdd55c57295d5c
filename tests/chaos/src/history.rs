//! The record of what clients asked and saw.
//!
//! Operations keep request and response as they were on the wire; when they began and ended is
//! known by a [`Clock`] that all clients of a campaign share, so that "before" is not a matter of
//! opinion.

mod operation;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

pub use operation::{Operation, Outcome, Request, Response};
use quorate_proto::etcdserverpb::{WatchCreateRequest, WatchResponse};
use quorate_proto::mvccpb::Event;

/// When something happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment {
    /// Position among all moments of the clock: no two are the same.
    pub order: u64,
    /// Time since the clock was made.
    pub elapsed: Duration,
}

/// Tells moments. Clones are the same clock.
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
        let (moments, operations) = (AtomicU64::new(1), AtomicU64::new(1));
        Self(Arc::new(ClockState { moments, operations, start: Instant::now() }))
    }

    /// Now: after every moment that anybody was told before.
    pub fn now(&self) -> Moment {
        let order = self.0.moments.fetch_add(1, Ordering::SeqCst);
        Moment { order, elapsed: self.0.start.elapsed() }
    }

    /// The id of a new operation.
    pub fn operation_id(&self) -> u64 {
        self.0.operations.fetch_add(1, Ordering::SeqCst)
    }
}

/// Something that a watch was told.
#[derive(Clone, Debug)]
pub struct Observation {
    /// The watch: the same one for as long as it resumes where it was interrupted.
    pub watch: u64,
    /// The member that it came from.
    pub member: usize,
    /// When it was received.
    pub at: Moment,
    /// What it was told.
    pub what: Observed,
}

/// What a watch can be told.
#[derive(Clone, Debug)]
pub enum Observed {
    /// The watch was asked for, for the first time or again after an interruption.
    Asked(WatchCreateRequest),
    /// A message of the server.
    Told(WatchResponse),
}

/// The truth that everything else is held against: what a member says was written.
#[derive(Clone, Debug)]
pub struct Audit {
    /// Every event above the last audit's revision, with the values before, in the order in which
    /// a watch gave them.
    pub events: Vec<Event>,
    /// A moment before which every operation had ended or could no longer take effect, and after
    /// which everything here was read.
    pub since: Moment,
    /// When all of it was read.
    pub until: Moment,
}

/// What happened between one audit and the next.
#[derive(Clone, Debug)]
pub struct History {
    /// What clients did, those of the audit included.
    pub operations: Vec<Operation>,
    /// What watches were told, for each watch in the order in which it was told.
    pub observations: Vec<Observation>,
    /// What was written.
    pub audit: Audit,
}
