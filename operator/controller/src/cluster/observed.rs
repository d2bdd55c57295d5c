//! The observed state of a cluster: the objects in Kubernetes and the answers of the store.
//!
//! Everything that [`plan`](super::plan::plan) decides by is here. It is read again for every plan,
//! and nothing of it is remembered.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use quorate_crd::v1alpha1::{Certificates, QuorateClusterStatus};

use super::failures::Failures;

/// The observed state of a cluster.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observed {
    /// Whether the cluster's object is being deleted.
    pub is_deleted: bool,
    /// The status as it was written last. It holds the lock.
    pub status: QuorateClusterStatus,
    /// The members by name, as the operator has recorded them.
    pub members: BTreeMap<String, Member>,
    /// Members that have a volume claim but no record. The claim belongs to this cluster by its
    /// uid, and it is neither kept nor being deleted.
    pub orphans: BTreeSet<String>,
    /// The highest number in the names of members and volume claims that begin with this cluster's
    /// name; 0 if there is none. The owner does not matter, so volumes of an earlier cluster count.
    pub last_number: i64,
    /// The store, if it gave a linearizable answer: then a majority of its voters serves.
    pub store: Option<Store>,
    /// The smallest number of available pods that the disruption budget asks for, if there is one.
    pub min_available: Option<i32>,
    /// Shared objects that are missing or not as they should be, by kind and name.
    pub stale_objects: BTreeSet<String>,
    /// Certificates that are missing, or that must be renewed by now, by the name of their Secret.
    /// Each recorded member has a Secret.
    pub stale_certificates: BTreeSet<String>,
    /// The Secrets of authorities that a founded cluster has lost. They are not made anew: clients
    /// and members trust the lost ones.
    pub lost_authorities: BTreeSet<String>,
    /// When the certificates expire.
    pub certificates: Certificates,
    /// The failures of this round so far.
    pub failures: Failures,
}

/// A member, as the operator has recorded it, with its objects.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Member {
    /// Its number.
    pub number: i64,
    /// Whether it founds the cluster.
    pub founds: bool,
    /// Whether its object is being deleted.
    pub is_deleted: bool,
    /// Its id in the store, once recorded.
    pub id: Option<u64>,
    /// The version that it ran last, as recorded; empty if it never ran.
    pub version: String,
    /// The hash of the settings that its pod would be made with now. The quota is one of them, and
    /// follows from the size that the volume has.
    pub settings: String,
    /// Recorded time from which it has not served.
    pub unreachable_since: Option<Timestamp>,
    /// Its volume claim.
    pub volume: Option<Volume>,
    /// Its pod.
    pub pod: Option<Pod>,
    /// Its own answer, if it gave one.
    pub answer: Option<Answer>,
    /// Why it does not use its renewed certificates, once it should.
    pub certificate_fault: Option<String>,
}

/// The claim of a member's volume.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Volume {
    /// The size that the claim asks for, in bytes.
    pub asked: u64,
    /// The size that the claim has, in bytes, once it is bound.
    pub size: Option<u64>,
    /// Whether the file system grows only when a pod starts with it.
    pub needs_restart: bool,
    /// Whether the claim is lost: its volume is gone.
    pub is_lost: bool,
    /// Whether the claim is being deleted.
    pub is_deleted: bool,
    /// Whether it is marked as kept.
    pub is_kept: bool,
}

/// A member's pod.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pod {
    /// The uid, which tells it from an earlier pod of the same name.
    pub uid: String,
    /// The hash of the settings that it was made with.
    pub settings: String,
    /// The version that it was made with.
    pub version: String,
    /// Its node; empty until it is scheduled.
    pub node: String,
    /// Whether the label of its role says voter.
    pub is_labelled_voter: bool,
    /// Whether it is ready.
    pub is_ready: bool,
    /// Whether it is being deleted.
    pub is_deleted: bool,
    /// When a pod that is being deleted should have ended.
    pub ends_by: Option<Timestamp>,
    /// Whether it has ended for good: it failed, or it was evicted.
    pub has_ended: bool,
    /// Whether its node is gone, or does not answer Kubernetes.
    pub is_node_lost: bool,
    /// The reason code of the store's last exit, if there is one: `removed`, `other-data`.
    pub exit: Option<String>,
    /// Why it does not run, for people; empty if it runs.
    pub message: String,
}

/// A member's own answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    /// Its id.
    pub id: u64,
    /// Our version of the program.
    pub version: String,
    /// Whether it sees a leader and serves linearizable reads. A learner serves none.
    pub is_serving: bool,
    /// The used part of its quota, in percent.
    pub used_percent: i32,
    /// Whether it refuses writes for want of space.
    pub no_space: bool,
    /// Whether it has found its data damaged.
    pub corrupt: bool,
}

/// The store's report about itself: one linearizable answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Store {
    /// The id of the cluster.
    pub cluster_id: u64,
    /// The configuration index, which a change of the members must name.
    pub configuration: u64,
    /// The id of the leader; 0 if there is none.
    pub leader: u64,
    /// The members.
    pub members: Vec<StoreMember>,
}

/// A member, as the store knows it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StoreMember {
    /// Its id.
    pub id: u64,
    /// Its name; empty until it has started.
    pub name: String,
    /// Its first peer URL. By it the operator tells its members from others.
    pub peer_url: String,
    /// Whether it does not vote.
    pub is_learner: bool,
    /// Whether a learner has caught up, so that the leader would promote it.
    pub is_caught_up: bool,
}
