//! Communication between members, over gRPC: the calling side.
//!
//! ```text
//!   openraft --> client --> links --(Dial)--> another member's port --> openraft
//!                             ^
//!   client proposals, reads and leases that the leader must answer
//! ```
//!
//! A member opens four connections to each other member, on first use: for the log, for calls that
//! the log must not delay (heartbeats, votes, reads), for snapshots, and for client requests that
//! it forwards. The module `port` is the receiving side. It answers a caller that names this member
//! of this cluster, if the caller's data directory is the one that the cluster knows.
//!
//! If a member does not answer at its URLs, others call it over connections that it has opened
//! itself: [`lend`] opens them, [`loans`] takes them, and [`way`] decides when they are used.
//!
//! This module does not know the transport: `Dial` opens connections, and the program that runs the
//! member accepts them.

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

/// Largest message between members, in bytes.
pub(crate) const MESSAGE_BYTES_MAX: usize = 64 << 20;
/// Largest request that one member can forward to another, in bytes: a message can hold one such
/// request and a megabyte of other entries, or of other rows of a snapshot.
pub const REQUEST_BYTES_MAX: usize = MESSAGE_BYTES_MAX - (4 << 20);

/// Value of the `upgrade` header of a request that lends a connection.
pub const LENDING: &str = "quorate-lending";

/// Header names. Every call has the first three. Ids and incarnations are hexadecimal.
pub(crate) mod header {
    /// The cluster's id.
    pub(crate) const CLUSTER: &str = "quorate-cluster";
    /// The caller's id and the incarnation of its data directory, separated by a dot.
    pub(crate) const FROM: &str = "quorate-from";
    /// The same for the receiver; incarnation 0 means unknown.
    pub(crate) const TO: &str = "quorate-to";
    /// Only in a request that lends a connection: the number of the lending process.
    pub(crate) const LENDER: &str = "quorate-lender";
    /// Only in a response that refuses a call because the cluster has excluded the caller: why.
    pub(crate) const EXCLUSION: &str = "quorate-exclusion";
}
