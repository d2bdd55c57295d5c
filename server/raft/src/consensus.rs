//! Consensus by openraft.

pub(crate) mod activity;
pub(crate) mod adapter;
pub(crate) mod beat;
pub(crate) mod checkpoint;
pub(crate) mod follower;
pub(crate) mod heard;
pub(crate) mod members;
pub(crate) mod protocol;
pub(crate) mod reigns;
pub(crate) mod start;
pub(crate) mod state_machine;
