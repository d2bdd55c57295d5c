//! Torn writes to the disk, and disk usage.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod size;
mod torn;
