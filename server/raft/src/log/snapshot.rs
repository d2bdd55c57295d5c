//! openraft's snapshots.

use quorate_storage::db::image::Image;
use quorate_storage::db::receive::ReceivedSnapshot;

use super::types::TypeConfig;

pub(crate) type SnapshotMeta = openraft::alias::SnapshotMetaOf<TypeConfig>;
pub(crate) type Snapshot = openraft::alias::SnapshotOf<TypeConfig, SnapshotHandle>;

/// The state at some log position.
pub(crate) enum SnapshotHandle {
    /// The database of this member at a checkpoint.
    Image(Image),
    /// The state of another member, received but not installed.
    Received(Box<ReceivedSnapshot>),
}
