//! A member of a replicated store: openraft over our log and our state machine.
//!
//! [`Member`] is what the API works with. Behind it, every change takes one road: it is proposed to
//! [`Consensus`], becomes durable in the log, is committed, and is applied to the state machine;
//! the answer comes from there. A cluster of one takes the same road.
//!
//! ```text
//!   propose -> openraft -> log (one sync for many) -> commit -> apply -> answers
//!                                                                 |
//!                                      layer full or old -> freeze -> log synced -> database
//!                                                                                      |
//!                                                   log forgets <- checkpoint <--------+
//! ```
//!
//! openraft appears nowhere outside this crate.

#![forbid(unsafe_code)]

mod compactor;
mod consensus;
mod duties;
mod flusher;
mod lessor;
mod log_store;
mod member;
mod metrics;
mod network;
mod progress;
mod quota;
mod read;
mod state_machine;
mod types;

pub use compactor::AutoCompaction;
pub use consensus::{BoxFuture, Consensus, RaftStatus, Unavailable};
pub use flusher::FlushOptions;
pub use lessor::{Renewal, TimeToLive};
pub use member::{Member, MemberInfo, Options, RequestError, StartError};
pub use metrics::{Durations, Metrics, Read, Reading};
pub use progress::Progress;
pub use quota::Quota;
pub use types::{Answer, Peer};
