//! The members in a membership, and how they change.

use std::collections::BTreeSet;

use super::types::{Membership, StoredMembership};
use crate::ground::member::{Configuration, Peer, Peers};

/// The members of a membership.
pub(crate) fn peers_of(stored: &StoredMembership) -> Peers {
    let membership = stored.membership();
    let voters: BTreeSet<u64> = membership.voter_ids().collect();
    let nodes = membership.nodes();
    nodes.map(|(id, peer)| (*id, (peer.clone(), !voters.contains(id)))).collect()
}

/// The configuration that a membership is.
pub(crate) fn configuration_of(stored: &StoredMembership) -> Configuration {
    let index = stored.log_id().map(|id| id.index());
    Configuration { index, peers: peers_of(stored) }
}

/// Logs the members that were added, removed, promoted or given other peer URLs.
pub(crate) fn log_member_changes(before: &Membership, now: &Membership) {
    let known = |of: &Membership, id: u64| -> Option<Peer> {
        of.nodes().find(|(other, _)| **other == id).map(|(_, peer)| peer.clone())
    };
    for (id, peer) in now.nodes() {
        let member = format!("{id:x}");
        let peer_urls = peer.peer_urls.join(",");
        let Some(old) = known(before, *id) else {
            let learner = peer.is_learner;
            tracing::info!(member, peer_urls, learner, "a member was added");
            continue;
        };
        if old.is_learner && !peer.is_learner {
            tracing::info!(member, "a member was promoted");
        }
        if old.peer_urls != peer.peer_urls {
            tracing::info!(member, peer_urls, "a member was updated");
        }
    }
    for (id, peer) in before.nodes() {
        if known(now, *id).is_none() {
            let member = format!("{id:x}");
            let peer_urls = peer.peer_urls.join(",");
            tracing::info!(member, peer_urls, "a member was removed");
        }
    }
}
