//! Says in the log how the members change.

use crate::types::{Membership, Peer};

/// One line for each member that is in only one of the two, or is not the same in both.
pub(crate) fn tell_changes(before: &Membership, now: &Membership) {
    let known = |of: &Membership, id: u64| -> Option<Peer> {
        of.nodes().find(|(other, _)| **other == id).map(|(_, peer)| peer.clone())
    };
    for (id, peer) in now.nodes() {
        let (member, peer_urls) = (format!("{id:x}"), peer.peer_urls.join(","));
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
            let (member, peer_urls) = (format!("{id:x}"), peer.peer_urls.join(","));
            tracing::info!(member, peer_urls, "a member was removed");
        }
    }
}
