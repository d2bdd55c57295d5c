//! What members say to each other, over gRPC.
//!
//! ```text
//!   openraft --> client --> links --(Dial)--> another member's port --> openraft
//!                             ^
//!   proposals, reads and leases of clients that the leader must answer
//! ```
//!
//! Each member keeps four connections to each other one, made when they are needed: for the log,
//! for what must not be delayed by it (heartbeats, votes, reads), for snapshots, and for what is
//! passed on for clients. The room `port` lets in those who say that they mean this member of this
//! cluster, and whose data directory is the one that the cluster knows, and answers them.
//!
//! A member that others do not reach at its URLs, or that does not reach others, is called over
//! connections that are opened by who is called: [`lend`] opens them, [`loans`] takes them, and
//! [`way`] says when.
//!
//! How bytes get from one machine to another is not known here: `Dial` makes connections, and
//! whoever runs the member accepts them.

pub(crate) mod append;
pub(crate) mod calls;
pub(crate) mod client;
pub(crate) mod codec;
pub(crate) mod connector;
pub(crate) mod counted;
pub(crate) mod describe;
pub(crate) mod exchange;
pub(crate) mod exclusion;
pub(crate) mod flow;
pub(crate) mod forward;
pub(crate) mod lend;
pub(crate) mod link;
pub(crate) mod links;
pub(crate) mod loans;
pub(crate) mod probe;
pub(crate) mod reach;
pub(crate) mod refusal;
pub(crate) mod standing;
pub(crate) mod transfer;
pub(crate) mod way;

/// Most bytes of a message between members.
pub(crate) const MESSAGE_BYTES_MAX: usize = 64 << 20;
/// Most bytes of a request that members can pass on to each other: a message holds one of that size
/// besides a megabyte of others, as entries and as rows of a snapshot.
pub const REQUEST_BYTES_MAX: usize = MESSAGE_BYTES_MAX - (4 << 20);

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
