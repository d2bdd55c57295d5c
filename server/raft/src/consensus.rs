//! Consensus by openraft.

pub(crate) mod activity;
pub(crate) mod adapter;
pub(crate) mod checkpoint;
pub(crate) mod heartbeat;
pub(crate) mod leader_contact;
pub(crate) mod leader_history;
pub(crate) mod members;
pub(crate) mod protocol;
pub(crate) mod start;
pub(crate) mod state_machine;
pub(crate) mod status;
