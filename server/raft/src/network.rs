//! Communication between members, over gRPC: the calling side.
//!
//! ```text
//!   openraft --> client --> peer_pool --(Dial)--> another member's port --> openraft
//!                             ^
//!   client proposals, reads and leases that the leader must answer
//! ```
//!
//! A member opens four connections to each other member, on first use: for the log, for calls that
//! the log must not delay (heartbeats, votes, reads), for snapshots, and for client requests that
//! it forwards. The module `port` is the receiving side. It answers a caller that names this member
//! of this cluster, if the caller's data directory is the one that the cluster knows.
//!
//! If a member does not answer at its URLs, others call it over reverse connections, which it has
//! opened itself: [`reverse_offer`] opens them, [`reverse_pool`] holds them at the other member,
//! and [`route`] decides when they are used.
//!
//! This module does not know the transport: `Dial` opens connections, and the program that runs the
//! member accepts them.

pub(crate) mod append;
pub(crate) mod calls;
pub(crate) mod channel_state;
pub(crate) mod client;
pub(crate) mod codec;
pub(crate) mod connector;
pub(crate) mod counted;
pub(crate) mod describe;
pub(crate) mod exclusion;
pub(crate) mod flow;
pub(crate) mod forward;
pub(crate) mod peer_channels;
pub(crate) mod peer_pool;
pub(crate) mod persistent_call;
pub(crate) mod probe;
pub(crate) mod proposal_stream;
pub(crate) mod reach_log;
pub(crate) mod refusal;
pub(crate) mod reverse_offer;
pub(crate) mod reverse_pool;
pub(crate) mod route;
pub(crate) mod transfer;

/// Largest message between members, in bytes.
pub(crate) const MESSAGE_BYTES_MAX: usize = 64 << 20;
/// Largest request that one member can forward to another, in bytes: a message can hold one such
/// request and a megabyte of other entries, or of other rows of a snapshot.
pub const REQUEST_BYTES_MAX: usize = MESSAGE_BYTES_MAX - (4 << 20);

/// Value of the `upgrade` header of a request that offers a reverse connection. The value is older
/// than the name, and members of other versions know it.
pub const REVERSE_PROTOCOL: &str = "quorate-lending";

/// Header names. Every call has the first three. Ids and incarnations are hexadecimal.
pub(crate) mod header {
    /// The cluster's id.
    pub(crate) const CLUSTER: &str = "quorate-cluster";
    /// The caller's id and the incarnation of its data directory, separated by a dot.
    pub(crate) const FROM: &str = "quorate-from";
    /// The same for the receiver; incarnation 0 means unknown.
    pub(crate) const TO: &str = "quorate-to";
    /// Only in a request that offers a reverse connection: the number of the initiator.
    pub(crate) const INITIATOR: &str = "quorate-lender";
    /// Only in a response that refuses a call because the cluster has excluded the caller: the
    /// reason.
    pub(crate) const EXCLUSION: &str = "quorate-exclusion";
}
