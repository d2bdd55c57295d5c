//! A member of a replicated store: openraft over Quorate's log and state machine.
//!
//! The API works with [`Member`]. Behind it, every change takes one path: it is proposed to
//! [`Consensus`], becomes durable in the log, is committed, and is applied to the state machine,
//! which answers it. A cluster of one member takes the same path.
//!
//! ```text
//!   propose -> openraft -> log (one sync for many) -> commit -> apply -> answers
//!                                                                 |
//!                                      memtable full or old -> freeze -> log synced -> database
//!                                                                                      |
//!                                                   log trimmed <- checkpoint <--------+
//! ```
//!
//! No other crate uses openraft.

#![forbid(unsafe_code)]

mod budget;
mod consensus;
mod disk;
mod ground;
mod leader;
mod log;
mod member;
mod membership;
mod metrics;
mod network;
mod port;
mod read;

pub use budget::{Account, Budget, Exhausted, Permit};
pub use disk::flusher::FlushOptions;
pub use disk::quota::Quota;
pub use disk::reservations::Reservation;
pub use ground::checks::IntegrityChecks;
pub use ground::connection::{Connection, Dial, ServeReverse};
pub use ground::consensus::{Answer, BoxFuture, Consensus, Holding, RaftStatus, Unavailable};
pub use ground::exclusion::Exclusion;
pub use ground::float::float;
pub use ground::logins::LoginListener;
pub use ground::member::{MemberInfo, MemberListing, Peer};
pub use ground::progress::Progress;
pub use ground::rate_limit::RateLimit;
pub use ground::request::{MemberError, RequestError};
pub use leader::compactor::AutoCompaction;
pub use leader::integrity::Inconsistent;
pub use leader::lessor::{Renewal, TimeToLive};
pub use member::Member;
pub use member::error::StartError;
pub use member::options::Options;
pub use member::start_mode::StartMode;
pub use membership::rules::MembershipRules;
pub use metrics::Metrics;
pub use metrics::durations::{Durations, Read, Reading};
pub use network::describe::{DescribedMember, Description, describe, root_cause};
pub use network::{REQUEST_BYTES_MAX, REVERSE_PROTOCOL};
pub use port::peer_port::PeerPort;
pub use port::reverse_connection::ReverseConnection;
pub use quorate_storage::DATA_FORMAT;
