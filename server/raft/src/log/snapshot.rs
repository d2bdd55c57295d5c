//! Snapshots as openraft handles them.

use quorate_storage::base::image::Image;
use quorate_storage::base::incoming::Received;

use super::types::TypeConfig;

pub(crate) type SnapshotMeta = openraft::alias::SnapshotMetaOf<TypeConfig>;
pub(crate) type Snapshot = openraft::alias::SnapshotOf<TypeConfig, SnapshotHandle>;

/// The state at some log position.
pub(crate) enum SnapshotHandle {
    /// Of this member: its database at a checkpoint.
    Image(Image),
    /// Of another member, received and not in use yet.
    Received(Box<Received>),
}
