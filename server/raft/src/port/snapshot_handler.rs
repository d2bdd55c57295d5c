//! Receives snapshots from other members.

use std::sync::Arc;

use quorate_proto::peer as pb;
use quorate_storage::db::part::PartPosition;
use tonic::{Status, Streaming};

use super::logged::Logged;
use super::validator::{self, Validator};
use crate::consensus::adapter::OpenRaft;
use crate::disk::flusher::Flusher;
use crate::log::encoding::decode_membership;
use crate::log::snapshot::{Snapshot, SnapshotHandle, SnapshotMeta};
use crate::log::types::{Vote, log_id, position};
use crate::metrics::Metrics;
use crate::network::codec;

/// Receives snapshots.
pub(crate) struct SnapshotHandler {
    consensus: Arc<OpenRaft>,
    validator: Arc<Validator>,
    flusher: Flusher,
    metrics: Arc<Metrics>,
    /// Parts that this member did not take: the sender repeats them.
    logged: Logged,
}

impl SnapshotHandler {
    pub(crate) fn new(
        consensus: Arc<OpenRaft>,
        validator: Arc<Validator>,
        flusher: Flusher,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self { consensus, validator, flusher, metrics, logged: Logged::default() }
    }

    /// The vote by which the sender leads.
    fn vote_of(&self, from: u64, head: &pb::SnapshotHead) -> Result<Vote, Status> {
        let vote = codec::vote_from_wire(head.vote);
        let vote = vote.map_err(|error| Status::invalid_argument(error.to_string()))?;
        self.validator.check_leader(from, &vote)?;
        Ok(vote)
    }

    /// Refuses a snapshot that contradicts the state of this member: it would stop openraft.
    fn check_meta(&self, vote: &Vote, meta: &SnapshotMeta) -> Result<(), Status> {
        let Some(last) = meta.last_log_id.as_ref().map(position) else { return Ok(()) };
        codec::id_from_wire(pb::LogId { term: last.term, index: last.index })
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        let is_other =
            self.consensus.committed_at().is_some_and(|here| validator::contradicts(here, last));
        let behind = meta.last_membership.log_id().as_ref().is_some_and(|id| position(id) > last);
        let has_no_voter = meta.last_membership.membership().voter_ids().next().is_none();
        if is_other || behind || has_no_voter || last.term > vote.leader_id.term {
            let text = format!("a snapshot of this cluster cannot end at {last:?}");
            return Err(Status::invalid_argument(text));
        }
        Ok(())
    }

    /// The vote of this member if the sender no longer leads. Then nothing is received: it would
    /// drop the parts that a later leader has sent.
    fn higher(&self, vote: &Vote) -> Option<pb::Vote> {
        let mine = self.consensus.vote_given();
        let is_as_high = vote.partial_cmp(&mine).is_some_and(std::cmp::Ordering::is_ge);
        (!is_as_high).then(|| codec::vote_to_wire(&mine))
    }

    /// Logs, once, why this member did not take a part of a snapshot.
    fn log(&self, from: u64, status: &Status) {
        let reason = status.message();
        if self.logged.is_new(reason) {
            let member = format!("{from:x}");
            tracing::warn!(member, reason, "cannot receive a snapshot");
        }
    }

    /// The parts of a snapshot that this member has.
    pub(super) async fn find(
        &self,
        from: u64,
        head: pb::SnapshotHead,
    ) -> Result<pb::SnapshotPosition, Status> {
        let vote = self.vote_of(from, &head)?;
        if let Some(higher) = self.higher(&vote) {
            return Ok(pb::SnapshotPosition { higher: Some(higher), ..Default::default() });
        }
        let engine = self.flusher.clone();
        let position = blocking(move || engine.engine().receive(&head.id)?.position()).await?;
        let PartPosition { parts, table, key } = position;
        Ok(pb::SnapshotPosition { parts, table, key, higher: None })
    }

    /// Receives a snapshot, or the rest of one, and installs it.
    pub(super) async fn receive(
        &self,
        from: u64,
        mut parts: Streaming<pb::SnapshotPart>,
    ) -> Result<pb::SnapshotReply, Status> {
        let mut next = parts.message().await?;
        let head = next.as_mut().and_then(|part| part.head.take());
        let head = head.ok_or_else(|| Status::invalid_argument("the snapshot has no head"))?;
        let vote = self.vote_of(from, &head)?;
        if let Some(higher) = self.higher(&vote) {
            return Ok(pb::SnapshotReply { vote: Some(higher) });
        }
        let transfer = self.metrics.peers.begin_receiving(from);
        let progress = self.metrics.receipt.begin(from, head.bytes);
        let engine = self.flusher.clone();
        let (mut incoming, mut bytes) = blocking(move || {
            let incoming = engine.engine().receive(&head.id)?;
            incoming.bytes().map(|bytes| (incoming, bytes))
        })
        .await?;
        progress.received(bytes);
        let mut is_complete = false;
        while let Some(part) = next {
            self.consensus.leader_contact().note(from, &vote);
            is_complete = part.is_last;
            if !part.content.is_empty() {
                let added =
                    blocking(move || incoming.add(&part.content).map(|bytes| (incoming, bytes)));
                (incoming, bytes) = added.await.inspect_err(|status| self.log(from, status))?;
                progress.received(bytes);
            }
            next = parts.message().await?;
        }
        if !is_complete {
            return Err(Status::aborted("the stream ended before the end of the snapshot"));
        }
        let received = blocking(move || incoming.finish()).await?;
        let last_membership = decode_membership(received.membership()).map_err(Status::internal)?;
        let meta = SnapshotMeta { last_log_id: received.applied().map(log_id), last_membership };
        self.check_meta(&vote, &meta)?;
        tracing::info!(
            index = meta.last_log_id.map_or(0, |id| position(&id).index),
            "installing a snapshot"
        );
        let snapshot = Snapshot { meta, snapshot: SnapshotHandle::Received(Box::new(received)) };
        let response = self.consensus.install_snapshot(vote, snapshot).await;
        let response = response.map_err(|error| Status::unavailable(error.to_string()))?;
        transfer.arrived();
        Ok(pb::SnapshotReply { vote: Some(codec::vote_to_wire(&response.vote)) })
    }
}

/// Runs disk work on a thread that may block.
async fn blocking<T, E>(work: impl FnOnce() -> Result<T, E> + Send + 'static) -> Result<T, Status>
where
    T: Send + 'static,
    E: std::error::Error + Send + 'static,
{
    let done = tokio::task::spawn_blocking(work).await;
    let done = done.map_err(|error| Status::internal(error.to_string()))?;
    done.map_err(|error| Status::aborted(error.to_string()))
}
