//! The state machine of Quorate: deterministic, synchronous, without input or output.
//!
//! This crate holds all replicated state: the versions of every key, leases, alarms, members'
//! attributes, users and roles. A [`Store`] changes only by [`Store::apply`], which is a function
//! of the state and a committed command: it uses no clock, no randomness, no environment and no
//! hash table order. The proposer decides everything random or timed before it proposes the
//! command, so that every member reaches the same state and gives the same answers.
//!
//! Readers use [`store::Shared`] and do not wait for writes: a [`mvcc::View`] is the store at one
//! revision. [`base::Base`] is the interface to flushed data; `quorate-storage` implements it.
//!
//! The types keep three kinds of failure apart: [`txn::check::Invalid`] (no state could answer the
//! request; found before it is proposed), [`Refusal`] (an answer, the same on every member) and
//! [`Fault`] (the member must stop).

#![forbid(unsafe_code)]

mod apply;
pub mod auth;
pub mod base;
mod command;
mod end_reason;
mod error;
mod footprint;
mod key;
pub mod limits;
pub mod mvcc;
pub mod planted;
pub mod quota;
mod record;
mod revision;
pub mod store;
pub mod tables;
mod tally;
pub mod txn;
pub mod watch;

pub use apply::{Applied, Effect, Reply};
pub use command::{
    AUTH_FORMAT, Command, CommandKind, DecodeError, LeaseExpire, MemberPublish, USERS_FORMAT,
};
pub use end_reason::{EndReason, Ending};
pub use error::{Error, Fault, Refusal};
pub use key::{End, KeyRange};
pub use record::{Record, RecordRef};
pub use revision::Revision;
pub use store::{LogPosition, Store};
pub use tally::Tally;
