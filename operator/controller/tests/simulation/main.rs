//! The operator in a pretend world: an API server in memory, nodes that run pods, and a model of
//! the store. The API server in memory answers like a real one, which scripts prove.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod api;
mod calls;
mod campaign;
mod conformance;
mod course;
mod crashes;
mod lag;
mod lags;
mod notes;
mod operator;
mod overtaking;
mod planted;
mod run;
mod scenario;
mod world;
