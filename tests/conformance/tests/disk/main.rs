//! What the disk keeps of a write, and how much of the disk is taken.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod size;
mod torn;
