//! A member's description of itself and of the members that it knows.

use std::sync::Arc;

use quorate_core::AUTH_FORMAT;
use quorate_core::store::Shared;
use quorate_proto::peer as pb;
use quorate_storage::data_dir::Identity;
use tokio::sync::watch;

use crate::ground::consensus::RaftStatus;
use crate::ground::member::Peers;

/// Describes this member to others.
pub(crate) struct DescribeHandler {
    pub(crate) identity: Identity,
    /// The version of etcd that this member is compatible with.
    pub(crate) version: String,
    pub(crate) store: Arc<Shared>,
    pub(crate) peers: watch::Receiver<Peers>,
    pub(crate) status: watch::Receiver<RaftStatus>,
}

impl DescribeHandler {
    /// The identity of this member, and the members that it knows.
    pub(crate) fn describe(&self) -> pb::Description {
        let peers = self.peers.borrow().clone();
        let members = peers.into_iter().map(|(id, (peer, _))| {
            let attributes = self.store.tables(|tables| tables.members.get(&id).cloned());
            let attributes = attributes.unwrap_or_default();
            pb::Member {
                id,
                name: attributes.name,
                peer_urls: peer.peer_urls,
                client_urls: attributes.client_urls,
                is_learner: peer.is_learner,
                incarnation: attributes.incarnation,
            }
        });
        pb::Description {
            cluster_id: self.identity.cluster_id,
            member_id: self.identity.member_id,
            incarnation: self.identity.incarnation,
            leader: self.status.borrow().leader.unwrap_or(0),
            version: self.version.clone(),
            members: members.collect(),
            command_format: u32::from(AUTH_FORMAT),
        }
    }
}
