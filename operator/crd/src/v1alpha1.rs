//! The kinds of version `v1alpha1`.
//!
//! The comment of a field is its text in `kubectl explain`: whole sentences, without marks.

mod cluster;
mod condition;
mod member;
mod placement;
mod repair;
mod resources;
mod settings;
mod status;
mod storage;
mod tls;

pub use cluster::{QuorateCluster, QuorateClusterSpec};
pub use condition::{ConditionType, Reason};
pub use member::{MemberPhase, QuorateMember, QuorateMemberSpec, QuorateMemberStatus};
pub use placement::{Placement, PodMetadata, Spread, Toleration};
pub use repair::Repair;
pub use resources::Resources;
pub use settings::{Compaction, CompactionMode, FLAGS, Settings};
pub use status::{Certificates, Change, ChangeKind, Phase, QuorateClusterStatus, Quorum};
pub use storage::{OnDelete, Storage};
pub use tls::{Client, NetworkPolicy, Tls};

use condition::conditions_schema;
