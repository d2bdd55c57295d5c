//! The JSON gateway beside etcd's.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod access;
mod claims;
mod client;
mod keys;
mod memory;
mod python;
mod socket;
mod socket_access;
mod sockets;
mod streams;
mod unary;

use quorate_test_support::program;
use quorate_test_support::server::Server;

fn start(flags: &[&str]) -> Server {
    Server::start_new(&program::quorate(), flags)
}
