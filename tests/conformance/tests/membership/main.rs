//! Changes of the members, compared with etcd, and what Quorate adds to them.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod commands;
mod dead_member;
mod expected;
