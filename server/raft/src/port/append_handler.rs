//! Entries and heartbeats from a leader.

use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::{Stream, StreamExt, stream};
use openraft::errors::Fatal;
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, StreamAppendResult};
use prost::Message;
use quorate_core::{EndReason, Ending};
use quorate_proto::peer as pb;
use quorate_storage::OnFault;
use tonic::Status;

use super::failures::{failed, fatal, malformed};
use super::validator::Validator;
use crate::consensus::adapter::OpenRaft;
use crate::ground::float::float;
use crate::log::types::TypeConfig;
use crate::metrics::Metrics;
use crate::network::codec;

/// How long a heartbeat's reply waits for the disk: as long as an idle disk takes.
const REPLY_WITHIN: Duration = Duration::from_millis(2);

/// Answers entries and heartbeats of a leader.
pub(crate) struct AppendHandler {
    pub(crate) consensus: Arc<OpenRaft>,
    pub(crate) validator: Arc<Validator>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) on_fault: OnFault,
}

impl AppendHandler {
    /// Answers a stream of append requests. An invalid request ends the stream with an error; the
    /// leader then opens another one.
    pub(super) fn entries(
        self: Arc<Self>,
        from: u64,
        requests: impl Stream<Item = Result<pb::AppendRequest, Status>> + Send + 'static,
    ) -> impl Stream<Item = Result<pb::AppendReply, Status>> + Send {
        let received = self.metrics.peers.received(from);
        let wrong = Arc::new(OnceLock::new());
        let refusal = wrong.clone();
        let appends = self.clone();
        let requests = requests.scan((), move |(), message| {
            let message = message.inspect(|m| received.inc_by(float(m.encoded_len() as u64)));
            let request = message.and_then(|message| appends.read(from, message));
            std::future::ready(request.map_err(|status| wrong.set(status)).ok())
        });
        let reply = |result: Result<StreamAppendResult<TypeConfig>, Fatal<TypeConfig>>| {
            result.map(codec::reply_to_wire).map_err(|error| fatal(&error))
        };
        let replies = self.consensus.append_entries(requests).map(reply);
        let end = stream::once(async move { refusal.get().cloned().map(Err) });
        replies.chain(end.filter_map(std::future::ready))
    }

    /// Answers one heartbeat.
    pub(super) async fn heartbeat(
        &self,
        from: u64,
        request: pb::AppendRequest,
    ) -> Result<pb::AppendReply, Status> {
        let request = self.read(from, request)?;
        let vote = request.vote;
        let previous = request.prev_log_id;
        let last = codec::last_of(&request);
        let response = self.heartbeat_reply(request).await?;
        // A heartbeat's previous entry is one that this member has acknowledged in this term. So
        // after a conflict the log lacks it, if this member still follows the sender, and if the
        // leader itself confirms the acknowledgement.
        if let (AppendEntriesResponse::Conflict, Some(acknowledged)) = (&response, &previous) {
            let index = acknowledged.index();
            if self.consensus.vote_given() <= vote
                && self.validator.confirmed(from, &vote, index).await
            {
                self.stop_without(index);
            }
            return Err(Status::failed_precondition(
                "the log lacks entries that were acknowledged",
            ));
        }
        Ok(codec::response_to_wire(response, previous, last))
    }

    /// The reply to a heartbeat. openraft itself replies once everything before it is on disk.
    ///
    /// But the reply tells the leader nothing about the log. It says that when the leader sent the
    /// heartbeat, this member followed no later leader. openraft processes messages in order, so
    /// this is certain once it has processed the heartbeat and still follows that leader. The vote
    /// need not be on disk: the reply is a statement about the past only.
    async fn heartbeat_reply(
        &self,
        request: AppendEntriesRequest<TypeConfig>,
    ) -> Result<AppendEntriesResponse<TypeConfig>, Status> {
        let vote = request.vote;
        let mut reply = pin!(self.consensus.heartbeat(request));
        tokio::select! {
            response = &mut reply => return response.map_err(|e| failed(&e)),
            () = tokio::time::sleep(REPLY_WITHIN) => {}
        }
        // This question is queued behind the heartbeat. A refusal of the heartbeat does not wait
        // for the disk, so the refusal arrives first.
        let follows = self.consensus.follows(vote);
        tokio::select! {
            biased;
            response = &mut reply => response.map_err(|e| failed(&e)),
            follows = follows => if follows.map_err(|e| fatal(&e))? {
                Ok(AppendEntriesResponse::Success)
            } else {
                reply.await.map_err(|e| failed(&e))
            },
        }
    }

    /// Decodes an append request. Refuses it if the caller does not lead.
    fn read(
        &self,
        from: u64,
        request: pb::AppendRequest,
    ) -> Result<AppendEntriesRequest<TypeConfig>, Status> {
        let request = codec::append_from_wire(request).map_err(malformed)?;
        self.validator.check_append(from, &request)?;
        self.consensus.leader_contact().note(from, &request.vote);
        Ok(request)
    }

    /// Stops the member: its log lacks entries that it acknowledged to the leader that it follows.
    /// So its data directory is a backup, or has lost writes. With its vote, a member that never
    /// had an acknowledged write could be elected.
    fn stop_without(&self, acknowledged: u64) {
        let id = self.validator.me;
        let text = format!(
            "this member had acknowledged the log up to index {acknowledged} and no longer has \
             it: its data directory is an older copy, or has lost writes. Remove the \
             member (etcdctl member remove {id:x}) and add it again with an empty data directory"
        );
        (self.on_fault)(Ending { reason: Some(EndReason::OtherData), text });
    }
}
