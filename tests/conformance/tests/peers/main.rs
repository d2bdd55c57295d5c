//! Traffic between members: strangers at peer ports, changing addresses, connections that work in
//! one direction only.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod hostile;
mod large;
mod moving;
mod one_way;
mod stranger;
mod taker;
