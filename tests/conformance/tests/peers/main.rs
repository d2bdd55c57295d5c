//! Traffic between members: impostors at peer ports, changing addresses, connections that work in
//! one direction only, snapshots that are not taken.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod changed_url;
mod hostile;
mod impostor;
mod large;
mod offered;
mod one_way;
mod snapshots;
