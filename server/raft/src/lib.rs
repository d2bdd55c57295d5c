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

mod ask;
mod budget;
mod compactor;
mod consensus;
mod duties;
mod exclusion;
mod flusher;
mod integrity;
mod leadership;
mod lessor;
mod log_store;
mod member;
mod membership;
mod metrics;
mod network;
mod peer;
mod progress;
mod quota;
mod read;
mod request;
mod room;
mod roster;
mod start;
mod state_machine;
mod types;

pub use budget::{Account, Budget, Exhausted, Permit};
pub use compactor::AutoCompaction;
pub use consensus::{BoxFuture, Consensus, RaftStatus, Unavailable};
pub use exclusion::Exclusion;
pub use flusher::FlushOptions;
pub use integrity::{Inconsistent, IntegrityChecks};
pub use lessor::{Renewal, TimeToLive};
pub use member::{Member, MemberInfo};
pub use membership::MembershipRules;
pub use metrics::{Durations, Metrics, Read, Reading};
pub use network::describe::{DescribedMember, Description, describe};
pub use network::loans::Loan;
pub use network::port::PeerPort;
pub use network::{Connection, Dial, LENDING, REQUEST_BYTES_MAX, Serve};
pub use progress::Progress;
pub use quota::Quota;
pub use request::{MemberError, RequestError};
pub use room::Claim;
pub use start::{Options, Origin, StartError};
pub use types::{Answer, Peer};
