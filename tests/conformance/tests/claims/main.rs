//! The Lock and Election services answer as etcd's: the same calls to both servers, one by one, and
//! many at once.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod clients;
mod contention;
mod elections;
mod ends;
mod locks;
mod observers;
