//! The members of the cluster as this member knows them.

use std::sync::Arc;

use quorate_core::store::Shared;
use quorate_core::tables::Tables;
use tokio::sync::watch;

use crate::ground::member::{Configuration, MemberInfo, MemberListing, Peer, Peers};

/// The members of the cluster.
pub(crate) struct MemberList {
    pub(crate) me: u64,
    pub(crate) store: Arc<Shared>,
    /// The members as of the last membership in the log, committed or not: this member must talk to
    /// these.
    pub(crate) peers: watch::Receiver<Peers>,
    /// The members as of the last applied entry: listings for clients show these.
    pub(crate) members: watch::Receiver<Configuration>,
}

impl MemberList {
    /// The members as of the last applied entry.
    pub(super) fn listing(&self) -> MemberListing {
        let Configuration { index, peers } = self.members.borrow().clone();
        let members = peers.into_iter().map(|(id, (peer, _))| {
            let attributes = self.store.tables(|tables: &Tables| tables.members.get(&id).cloned());
            let attributes = attributes.unwrap_or_default();
            MemberInfo {
                id,
                name: attributes.name,
                peer_urls: peer.peer_urls,
                client_urls: attributes.client_urls,
                is_learner: peer.is_learner,
            }
        });
        MemberListing { configuration: index, members: members.collect() }
    }

    /// Whether this member is a learner.
    pub(super) fn is_learner(&self) -> bool {
        self.peers.borrow().get(&self.me).is_some_and(|(peer, _)| peer.is_learner)
    }

    /// Whether a member has a vote.
    pub(super) fn is_voter(&self, id: u64) -> bool {
        self.peers.borrow().get(&id).is_some_and(|(_, is_without_vote)| !is_without_vote)
    }

    /// Waits until this member has its vote, unless it is a learner.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub(super) async fn wait_for_vote(&self) {
        let waits = |(peer, is_without_vote): &(Peer, bool)| *is_without_vote && !peer.is_learner;
        let mut peers = self.peers.clone();
        // An error means that the member has stopped.
        peers.wait_for(|peers| !peers.get(&self.me).is_some_and(waits)).await.ok();
    }
}
