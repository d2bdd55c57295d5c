//! Communication between members: the receiving side.

pub(crate) mod append_handler;
pub(crate) mod body;
pub(crate) mod describe_handler;
pub(crate) mod failures;
pub(crate) mod guard;
mod logged;
pub(crate) mod peer_port;
pub(crate) mod proposal_handler;
pub(crate) mod reverse_connection;
pub(crate) mod service;
pub(crate) mod snapshot_handler;
pub(crate) mod validator;
