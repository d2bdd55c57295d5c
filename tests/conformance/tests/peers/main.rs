//! What passes between members: strangers at peer ports, addresses that change, ways that lead in
//! one direction only.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod hostile;
mod large;
mod moving;
mod one_way;
mod stranger;
mod taker;
