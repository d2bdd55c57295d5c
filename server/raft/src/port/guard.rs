//! Decides which callers are accepted.

use std::sync::Arc;

use quorate_core::store::Shared;
use quorate_storage::data_dir::{Identity, generation};
use tokio::sync::watch;
use tonic::Status;
use tonic::metadata::MetadataMap;

use super::logged::Logged;
use crate::ground::exclusion::Exclusion;
use crate::ground::member::Peers;
use crate::ground::progress::Progress;
use crate::network::header;
use crate::network::refusal::refusal;

/// Checks callers.
pub(crate) struct Guard {
    identity: Identity,
    store: Arc<Shared>,
    /// The members in the log, committed or not: this member must talk to them.
    peers: watch::Receiver<Peers>,
    logged: Logged,
}

impl Guard {
    /// The guard of this member.
    pub(crate) fn new(
        identity: Identity,
        store: Arc<Shared>,
        peers: watch::Receiver<Peers>,
    ) -> Self {
        Self { identity, store, peers, logged: Logged::default() }
    }

    /// Checks the headers of a call and returns the caller's id. Logs a refusal.
    pub(crate) fn admit(&self, headers: &MetadataMap) -> Result<u64, Status> {
        let admitted = admit(headers, &self.identity, &self.store, &self.peers);
        admitted.inspect_err(|refusal| self.log(refusal))
    }

    /// Logs a refusal, once.
    pub(super) fn log(&self, refusal: &Status) {
        if self.logged.is_new(refusal.message()) {
            tracing::warn!(reason = refusal.message(), "refusing the calls of a peer");
        }
    }

    /// The refusal of `member` if it was removed.
    pub(super) fn removed(&self, member: u64) -> Option<Status> {
        removed(member, &self.store, &self.peers)
    }

    /// Waits until `member` is removed; returns its refusal.
    pub(super) async fn removal(self: Arc<Self>, member: u64, progress: Progress) -> Status {
        let mut peers = self.peers.clone();
        let mut applied = progress.subscribe();
        loop {
            // The removal is first in the log, and final when it is applied.
            let gone = peers.wait_for(|peers| !peers.contains_key(&member)).await.is_ok();
            if let Some(refusal) = self.removed(member) {
                return refusal;
            }
            if !gone || applied.changed().await.is_err() {
                // This member has stopped: no call gets an answer.
                std::future::pending::<()>().await;
            }
        }
    }
}

/// Accepts a call that names this member of this cluster, if the caller was not removed and its
/// data directory is the one that the cluster knows. Returns the caller's id.
fn admit(
    headers: &MetadataMap,
    me: &Identity,
    store: &Shared,
    peers: &watch::Receiver<Peers>,
) -> Result<u64, Status> {
    let text = |name| {
        let value = headers.get(name).and_then(|value| value.to_str().ok());
        value.ok_or_else(|| Status::invalid_argument(format!("the header is missing: {name}")))
    };
    let cluster = number(text(header::CLUSTER)?)?;
    if cluster != me.cluster_id {
        let mine = me.cluster_id;
        let text = format!("cluster ID mismatch: this is {mine:x}, the caller's is {cluster:x}");
        return Err(Status::failed_precondition(text));
    }
    let (id, incarnation) = pair(text(header::FROM)?)?;
    if id == me.member_id {
        return Err(Status::invalid_argument("the caller has the id of this member"));
    }
    if let Some(removed) = removed(id, store, peers) {
        return Err(removed);
    }
    let (to, meant) = pair(text(header::TO)?)?;
    if to != me.member_id {
        let text = format!("this is member {:x}, but the call is for member {to:x}", me.member_id);
        return Err(Status::failed_precondition(text));
    }
    // A lagging caller may not know the later generation of this member yet.
    if meant != 0 && meant != me.incarnation && generation(meant) >= generation(me.incarnation) {
        let text = format!("member {to:x} no longer has the data directory that the call is for");
        return Err(Status::failed_precondition(text));
    }
    let known =
        store.tables(|tables| tables.members.get(&id).map_or(0, |member| member.incarnation));
    if known != 0 && known != incarnation && generation(known) >= generation(incarnation) {
        return Err(refusal(id, Exclusion::OtherData));
    }
    Ok(id)
}

/// The refusal of member `id` if it was removed. A caller that this member does not know is not
/// refused: this member may lag behind, and may learn only later that the caller was added. This
/// member never forgets a removed member.
fn removed(id: u64, store: &Shared, peers: &watch::Receiver<Peers>) -> Option<Status> {
    let is_removed = store.tables(|tables| tables.removed.contains(&id));
    let is_excluded = is_removed && !peers.borrow().contains_key(&id);
    is_excluded.then(|| refusal(id, Exclusion::Removed))
}

/// Parses an id and an incarnation.
fn pair(text: &str) -> Result<(u64, u64), Status> {
    let (id, incarnation) = text
        .split_once('.')
        .ok_or_else(|| Status::invalid_argument(format!("{text:?} has no incarnation")))?;
    Ok((number(id)?, number(incarnation)?))
}

fn number(text: &str) -> Result<u64, Status> {
    u64::from_str_radix(text, 16)
        .map_err(|_| Status::invalid_argument(format!("{text:?} is not a hexadecimal number")))
}
