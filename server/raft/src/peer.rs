//! What a member is to the others: everything that their calls need.

use std::sync::Arc;
use std::time::Duration;

use openraft::Raft;
use openraft::async_runtime::WatchReceiver;
use quorate_core::Error;
use quorate_core::store::Shared;
use quorate_proto::peer as pb;
use quorate_storage::OnFault;
use quorate_storage::data_dir::Identity;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::budget::Budget;
use crate::consensus::adapter::read_index_here;
use crate::consensus::heard::Heard;
use crate::consensus::state_machine::StateMachine;
use crate::disk::flusher::Flusher;
use crate::ground::consensus::{RaftStatus, Unavailable};
use crate::ground::member::Peers;
use crate::ground::progress::Progress;
use crate::leader::lessor::{Lessor, Renewal, TimeToLive};
use crate::log::types::{TypeConfig, Vote};
use crate::membership::Membership;
use crate::metrics::Metrics;
use crate::network::links::Links;
use crate::port::guard::Refusals;
use crate::read::ReadBarrier;

/// How long a call for another member may take to confirm that this one leads.
const CONFIRM_WITHIN: Duration = Duration::from_millis(500);

/// What a member is to the others.
pub(crate) struct Inner {
    pub(crate) identity: Identity,
    /// The version of etcd that this one is compatible with.
    pub(crate) version: String,
    pub(crate) raft: Raft<TypeConfig, StateMachine>,
    pub(crate) store: Arc<Shared>,
    /// By what is in the log, committed or not: with them this member must talk.
    pub(crate) peers: watch::Receiver<Peers>,
    /// By what was applied: of them clients are told.
    pub(crate) members: watch::Receiver<Peers>,
    pub(crate) status: watch::Receiver<RaftStatus>,
    pub(crate) heard: Arc<Heard>,
    pub(crate) links: Arc<Links>,
    pub(crate) barrier: Arc<ReadBarrier>,
    pub(crate) lessor: Arc<Lessor>,
    pub(crate) progress: Progress,
    pub(crate) flusher: Flusher,
    pub(crate) membership: Membership,
    pub(crate) refusals: Refusals,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) budget: Budget,
    pub(crate) tasks: TaskTracker,
    pub(crate) on_fault: OnFault,
    /// Ends what others keep open here, and this one there.
    pub(crate) stop: CancellationToken,
}

impl Inner {
    /// Whether this member leads, as far as it knows.
    pub(crate) fn leads(&self) -> bool {
        self.status.borrow().leader == Some(self.identity.member_id)
    }

    /// The vote that this member gave last, or the leader's that it follows.
    pub(crate) fn vote(&self) -> Vote {
        self.raft.metrics().borrow_watched().vote
    }

    /// The index a linearizable read must wait for, if this member leads.
    pub(crate) async fn read_index_here(&self) -> Result<u64, Unavailable> {
        let asked = tokio::time::timeout(CONFIRM_WITHIN, read_index_here(&self.raft)).await;
        asked.unwrap_or(Err(Unavailable::NotLeader { leader: None }))
    }

    /// Ends the member when its log lacks what it had acknowledged to the leader it follows: a data
    /// directory from a backup, or one that lost writes. With its vote, others that never had an
    /// acknowledged write could elect one of them.
    pub(crate) fn lacks(&self, acknowledged: u64) {
        let id = self.identity.member_id;
        (self.on_fault)(format!(
            "this member had acknowledged the log up to index {acknowledged} and does not have \
             it any more: its data directory is an older copy, or has lost writes. Remove the \
             member (etcdctl member remove {id:x}) and add it again with an empty data directory"
        ));
    }

    /// Gives a lease its full time again; `None` when this member does not lead.
    ///
    /// Leadership is confirmed first: a leader elected after that gives every lease its full time,
    /// so that what is promised here holds whoever leads.
    pub(crate) async fn renew_lease_here(&self, id: i64) -> Option<Renewal> {
        if !self.leads() {
            return None;
        }
        self.barrier.pass().await.ok()?;
        match self.lessor.renew(id).await {
            Renewal::NotPrimary => None,
            renewal => Some(renewal),
        }
    }

    /// The time of a lease, which may not exist; `None` when this member does not lead.
    pub(crate) async fn lease_time_here(&self, id: i64) -> Option<Option<TimeToLive>> {
        if !self.leads() {
            return None;
        }
        self.barrier.pass().await.ok()?;
        self.lessor.time_to_live(id)
    }

    /// Who this member is, and the members it knows of.
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
        }
    }

    /// etcd's hash of all keys at a revision; 0 for the newest.
    pub(crate) async fn hash_kv(&self, revision: i64) -> pb::HashReply {
        let view = self.store.view();
        let newest = view.revision();
        // It reads all of history, which is no work for a thread that others wait for.
        let hashed = tokio::task::spawn_blocking(move || view.hash_kv(revision)).await;
        match hashed {
            Ok(Ok(hash)) => pb::HashReply {
                hash: hash.hash,
                revision: hash.revision,
                compacted: hash.compact_revision,
                refusal: String::new(),
                newest,
            },
            Ok(Err(Error::Refusal(refusal))) => {
                pb::HashReply { refusal: refusal.to_string(), ..Default::default() }
            }
            Ok(Err(Error::Fault(fault))) => {
                pb::HashReply { refusal: fault.to_string(), ..Default::default() }
            }
            Err(error) => pb::HashReply { refusal: error.to_string(), ..Default::default() },
        }
    }
}
