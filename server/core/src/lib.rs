//! The state machine of Quorate: deterministic, synchronous, without input or output.
//!
//! Everything that is replicated lives here: the versions of every key, leases, alarms, members'
//! attributes. A [`Store`] changes only by [`Store::apply`], which is a function of the state and a
//! committed command: no clock, no randomness, no environment, no order of a hash table. Whatever
//! is random or timed was decided before the command was proposed, so that every member comes to
//! the same state and the same answers.
//!
//! Reading happens beside it through [`store::Shared`]: a [`mvcc::View`] is the store at one
//! revision, and does not wait for writes. What has been flushed lies behind [`base::Base`], which
//! `quorate-storage` implements.
//!
//! A request ends in one of three ways that the types keep apart: [`txn::check::Invalid`] (no state
//! could answer it; found before it is proposed), [`Refusal`] (an answer, the same on every member)
//! and [`Fault`] (the member must stop).

#![forbid(unsafe_code)]

mod apply;
pub mod base;
mod command;
mod error;
mod key;
pub mod limits;
pub mod mvcc;
pub mod planted;
pub mod quota;
mod reach;
mod record;
mod revision;
pub mod store;
pub mod tables;
mod tally;
pub mod txn;
pub mod watch;

pub use apply::{Applied, Effect, Reply};
pub use command::{Command, Kind, LeaseExpire, MemberPublish};
pub use error::{Error, Fault, Refusal};
pub use key::{End, KeyRange};
pub use record::{Record, RecordRef};
pub use revision::Revision;
pub use store::{LogPosition, Store};
pub use tally::Tally;
