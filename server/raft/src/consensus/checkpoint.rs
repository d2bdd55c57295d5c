//! Snapshots of this member's state.

use std::io;

use openraft::storage::RaftSnapshotBuilder;

use crate::disk::flusher::{Checkpoint, Flusher};
use crate::log::snapshot::{Snapshot, SnapshotHandle, SnapshotMeta};
use crate::log::types::{TypeConfig, log_id};

/// Builds snapshots at no cost: the last commit of the database is a snapshot.
pub(crate) struct CheckpointReader(pub(super) Flusher);

impl RaftSnapshotBuilder<TypeConfig> for CheckpointReader {
    type SnapshotData = SnapshotHandle;

    async fn build_snapshot(&mut self) -> io::Result<Snapshot> {
        let checkpoint = self.0.checkpoint()?;
        let checkpoint = checkpoint.ok_or_else(|| io::Error::other("the database is empty"))?;
        Ok(snapshot_of(checkpoint))
    }
}

pub(super) fn snapshot_of(checkpoint: Checkpoint) -> Snapshot {
    let meta = SnapshotMeta {
        last_log_id: Some(log_id(checkpoint.applied)),
        last_membership: checkpoint.membership,
    };
    Snapshot { meta, snapshot: SnapshotHandle::Image(checkpoint.image) }
}
