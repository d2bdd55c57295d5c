//! What members say to each other, over gRPC.
//!
//! ```text
//!   openraft --> client --> links --(Dial)--> another member's peer port --> server --> openraft
//!                             ^
//!   proposals, reads and leases of clients that the leader must answer
//! ```
//!
//! Each member keeps four connections to each other one, made when they are needed: for the log,
//! for what must not be delayed by it (heartbeats, votes, reads), for snapshots, and for what is
//! passed on for clients. [`port::PeerPort`] lets in those who say that they mean this member of
//! this cluster, and whose data directory is the one that the cluster knows;
//! [`server::PeerService`] answers them.
//!
//! A member that others do not reach at its URLs, or that does not reach others, is called over
//! connections that are opened by who is called: [`lend`] opens them, [`loans`] takes them, and
//! [`way`] says when.
//!
//! How bytes get from one machine to another is not known here: [`Dial`] makes connections, and
//! whoever runs the member accepts them.

pub(crate) mod append;
mod body;
pub(crate) mod claims;
pub(crate) mod client;
pub(crate) mod codec;
mod counted;
pub(crate) mod describe;
pub(crate) mod forward;
pub(crate) mod guard;
pub(crate) mod lend;
pub(crate) mod links;
pub(crate) mod loans;
pub(crate) mod metrics;
pub(crate) mod port;
pub(crate) mod probe;
mod reach;
pub(crate) mod server;
pub(crate) mod standing;
pub(crate) mod transfer;
pub(crate) mod way;

use std::any::Any;
use std::io;

use tokio::io::{AsyncRead, AsyncWrite};

use crate::consensus::BoxFuture;

/// Most bytes of a message between members.
pub(crate) const MESSAGE_BYTES_MAX: usize = 64 << 20;
/// Most bytes of a request that members can pass on to each other: a message holds one of that size
/// besides a megabyte of others, as entries and as rows of a snapshot.
pub const REQUEST_BYTES_MAX: usize = MESSAGE_BYTES_MAX - (4 << 20);

/// A connection to another member.
pub trait Connection: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Connection for T {}

/// Opens connections to other members, encrypted and authenticated as this cluster wants it.
pub trait Dial: Send + Sync + 'static {
    /// A new connection to the member at a peer URL.
    fn dial(&self, url: String) -> BoxFuture<'static, io::Result<Box<dyn Connection>>>;
}

/// Serves calls on connections that this member has opened itself and lends to others.
pub trait Serve: Send + Sync + 'static {
    /// Begins to serve. What is `held` is dropped when the connection has ended.
    fn serve(&self, connection: Box<dyn Connection>, held: Box<dyn Any + Send>);

    /// Whether who is at this URL may call: over a connection to it, nobody shows more of itself.
    fn admits(&self, url: &str) -> bool;
}

/// What a request asks for that lends a connection.
pub const LENDING: &str = "quorate-lending";

/// Names of the headers of every call.
pub(crate) mod header {
    /// The cluster's id.
    pub(crate) const CLUSTER: &str = "quorate-cluster";
    /// The caller's id and the incarnation of its data directory, with a dot between them.
    pub(crate) const FROM: &str = "quorate-from";
    /// The member that is meant.
    pub(crate) const TO: &str = "quorate-to";
    /// With a connection that is lent: the number of the process that lends it.
    pub(crate) const LENDER: &str = "quorate-lender";
}
