//! Snapshots on their way.

use std::future::Future;

use openraft::AnyError;
use openraft::errors::{ReplicationClosed, StreamingError, Unreachable};
use openraft::raft::SnapshotResponse;
use quorate_proto::peer as pb;
use tonic::{Status, Streaming};

use super::links::Client;
use crate::peer::Inner;
use crate::state_machine::SnapshotHandle;
use crate::types::{TypeConfig, Vote};

type Snapshot = openraft::alias::SnapshotOf<TypeConfig, SnapshotHandle>;

pub(crate) async fn send(
    _client: Client,
    _vote: Vote,
    _snapshot: Snapshot,
    _cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
    Err(StreamingError::Unreachable(Unreachable::new(&AnyError::error("not yet"))))
}

pub(crate) async fn find(
    _inner: &Inner,
    _head: pb::SnapshotHead,
) -> Result<pb::SnapshotPosition, Status> {
    Err(Status::unimplemented(""))
}

pub(crate) async fn receive(
    _inner: &Inner,
    _from: u64,
    _parts: Streaming<pb::SnapshotPart>,
) -> Result<pb::SnapshotReply, Status> {
    Err(Status::unimplemented(""))
}
