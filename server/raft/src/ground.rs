//! Types for every room of this crate: plain data, and the interface of consensus.

pub(crate) mod checks;
pub(crate) mod completion;
pub(crate) mod connection;
pub(crate) mod consensus;
pub(crate) mod exclusion;
pub(crate) mod float;
pub(crate) mod logins;
pub(crate) mod member;
pub(crate) mod progress;
pub(crate) mod rate_limit;
pub(crate) mod request;
pub(crate) mod waiters;
