//! The next step of the operator, which is safe to do again.

use std::fmt;

use jiff::Timestamp;
use quorate_crd::v1alpha1::Change;

/// The next step of the operator.
///
/// A step that was done, but whose success the operator has not seen, is planned again, and is then
/// without effect.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Applies the shared objects: Services, NetworkPolicy.
    ApplyObjects,
    /// Issues the certificates that are missing or must be renewed.
    IssueCertificates,
    /// Rewrites the disruption budget.
    LimitDisruption {
        /// The smallest number of available voters.
        min_available: i32,
    },
    /// Records a change in the status, which locks the cluster, together with the next member's
    /// number. The API server must refuse it if the status has changed since it was observed.
    Begin {
        /// The change.
        change: Change,
        /// The number of the next member afterwards.
        next_member: i64,
    },
    /// Removes the change from the status, under the same condition.
    End,
    /// Creates the record of a member.
    CreateMember {
        /// Its name.
        member: String,
        /// Its number.
        number: i64,
        /// Whether it founds the cluster.
        founds: bool,
    },
    /// Creates the volume claim of a member. A claim of another owner must not be taken over.
    CreateVolume {
        /// The member.
        member: String,
        /// The size in bytes.
        bytes: u64,
    },
    /// Adds a member to the store as a learner.
    AddLearner {
        /// The member.
        member: String,
        /// Its peer URL. A member with this URL must not be added twice.
        peer_url: String,
        /// The configuration index that the store must have.
        configuration: u64,
    },
    /// Records the id that the store gave a member.
    RecordId {
        /// The member.
        member: String,
        /// The id.
        id: u64,
    },
    /// Records the id of the cluster in the status. Nothing founds it again afterwards.
    RecordCluster {
        /// The id.
        id: u64,
    },
    /// Creates the pod of a member.
    CreatePod {
        /// The member.
        member: String,
        /// Whether it starts a cluster of one; otherwise it joins the existing one.
        founds: bool,
        /// Whether the label of its role says voter.
        is_voter: bool,
        /// The version that it runs.
        version: String,
    },
    /// Labels the pod of a member as that of a voter.
    LabelVoter {
        /// The member.
        member: String,
    },
    /// Deletes a pod.
    DeletePod {
        /// The member.
        member: String,
        /// The pod's uid: another pod of the same name is left alone.
        uid: String,
        /// Whether not to wait for its node, which is lost. The store has removed the member
        /// before.
        force: bool,
    },
    /// Makes a learner a voter.
    Promote {
        /// The member.
        member: String,
        /// Its id.
        id: u64,
        /// The configuration index that the store must have.
        configuration: u64,
    },
    /// Moves the leadership.
    MoveLeader {
        /// The present leader.
        from: String,
        /// The next one.
        to: String,
        /// The id of the next one.
        id: u64,
    },
    /// Removes a member from the store.
    RemoveFromStore {
        /// The member.
        member: String,
        /// Its id.
        id: u64,
        /// The configuration index that the store must have.
        configuration: u64,
    },
    /// Marks a volume claim as kept, for a person to look at. Nothing uses it afterwards.
    KeepVolume {
        /// The member.
        member: String,
        /// The reason, for people.
        reason: String,
    },
    /// Asks for a larger volume.
    GrowVolume {
        /// The member.
        member: String,
        /// The size in bytes.
        bytes: u64,
    },
    /// Deletes the record of a member, and with it its Secret.
    DeleteMember {
        /// The member.
        member: String,
    },
    /// Does nothing, until something changes or the time has come.
    Wait {
        /// The reason, for people. It does not change while nothing else does.
        reason: String,
        /// When to look again at the latest, if the time alone can change the plan.
        until: Option<Timestamp>,
    },
}

/// The step in words, for people: the text of events and logs.
impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ApplyObjects => write!(f, "apply the shared objects"),
            Self::IssueCertificates => write!(f, "issue certificates"),
            Self::LimitDisruption { min_available } => {
                write!(f, "limit disruption: {min_available} voters must be available")
            }
            Self::Begin { change, .. } => write!(f, "begin: {}: {}", change.text, change.reason),
            Self::End => write!(f, "end the change"),
            Self::CreateMember { member, founds: true, .. } => {
                write!(f, "create the record of {member}, which founds the cluster")
            }
            Self::CreateMember { member, .. } => write!(f, "create the record of {member}"),
            Self::CreateVolume { member, bytes } => {
                write!(f, "create the volume of {member}: {bytes} bytes")
            }
            Self::AddLearner { member, .. } => write!(f, "add {member} as a learner"),
            Self::RecordId { member, id } => write!(f, "record the id of {member}: {id:x}"),
            Self::RecordCluster { id } => write!(f, "record the id of the cluster: {id:x}"),
            Self::CreatePod { member, founds: true, version, .. } => {
                write!(f, "create the pod of {member} with {version}, founding")
            }
            Self::CreatePod { member, version, .. } => {
                write!(f, "create the pod of {member} with {version}")
            }
            Self::LabelVoter { member } => write!(f, "label the pod of {member} as a voter's"),
            Self::DeletePod { member, force: true, .. } => {
                write!(f, "delete the pod of {member} without waiting for its node")
            }
            Self::DeletePod { member, .. } => write!(f, "delete the pod of {member}"),
            Self::Promote { member, .. } => write!(f, "promote {member} to a voter"),
            Self::MoveLeader { from, to, .. } => {
                write!(f, "move the leadership from {from} to {to}")
            }
            Self::RemoveFromStore { member, .. } => write!(f, "remove {member} from the store"),
            Self::KeepVolume { member, reason } => {
                write!(f, "keep the volume of {member}: {reason}")
            }
            Self::GrowVolume { member, bytes } => {
                write!(f, "grow the volume of {member} to {bytes} bytes")
            }
            Self::DeleteMember { member } => write!(f, "delete the record of {member}"),
            Self::Wait { reason, .. } => write!(f, "wait: {reason}"),
        }
    }
}
