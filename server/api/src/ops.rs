//! The operations that clients can call. The operations depend on no wire. Each operation takes a
//! request and returns the answer or an [`ApiError`](crate::ApiError). A wire decodes the request,
//! calls the operation, and encodes the outcome; [`crate::grpc`] is such a wire. Ranges are generic
//! over the form of their rows ([`rows::Form`]).

mod auth;
pub(crate) mod chunks;
mod claims;
pub(crate) mod cluster;
pub(crate) mod election;
pub(crate) mod kv;
pub(crate) mod lease;
pub(crate) mod lock;
pub(crate) mod maintenance;
pub(crate) mod pieces;
pub(crate) mod propose;
pub(crate) mod range;
pub(crate) mod rows;
pub(crate) mod watch;

use quorate_raft::Permit;

use crate::server::Server;

/// An answer, with the permit for its memory if it has one. The wire keeps the permit until the
/// answer is encoded.
pub(crate) struct Answered<M> {
    pub(crate) message: M,
    pub(crate) permit: Option<Permit>,
}

/// Returns when there has been no leader for three election timeouts, or when the channel of the
/// member's status closes. If `needed` is false, never returns.
async fn leader_lost(server: Server, needed: bool) {
    if !needed {
        std::future::pending::<()>().await;
    }
    let patience = server.member().election_timeout() * 3;
    let mut raft = server.member().status();
    loop {
        if raft.wait_for(|raft| raft.leader.is_none()).await.is_err() {
            return;
        }
        let found = raft.wait_for(|raft| raft.leader.is_some());
        if !matches!(tokio::time::timeout(patience, found).await, Ok(Ok(_))) {
            return;
        }
    }
}
