//! What a leader sends: entries and heartbeats.

use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::{Stream, StreamExt, stream};
use openraft::errors::Fatal;
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, StreamAppendResult};
use prost::Message;
use quorate_proto::peer as pb;
use quorate_storage::OnFault;
use tonic::Status;

use super::claims::Claims;
use super::failures::{failed, fatal, malformed};
use crate::consensus::adapter::OpenRaft;
use crate::log::types::TypeConfig;
use crate::metrics::Metrics;
use crate::network::codec;
use crate::network::counted::float;

/// How long a heartbeat waits for the disk: as long as one does that is not busy.
const BEAT_SOON: Duration = Duration::from_millis(2);

/// Takes in what a leader sends.
pub(crate) struct Appends {
    pub(crate) consensus: Arc<OpenRaft>,
    pub(crate) claims: Arc<Claims>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) on_fault: OnFault,
}

impl Appends {
    /// Answers a stream of entries. A request that cannot be read ends the stream; the leader
    /// begins another one.
    pub(super) fn entries(
        self: Arc<Self>,
        from: u64,
        requests: impl Stream<Item = Result<pb::AppendRequest, Status>> + Send + 'static,
    ) -> impl Stream<Item = Result<pb::AppendReply, Status>> + Send {
        let received = self.metrics.peers.received(from);
        let wrong = Arc::new(OnceLock::new());
        let (refusal, appends) = (wrong.clone(), self.clone());
        let requests = requests.scan((), move |(), message| {
            let message = message.inspect(|m| received.inc_by(float(m.encoded_len())));
            let request = message.and_then(|message| appends.read(from, message));
            std::future::ready(request.map_err(|status| wrong.set(status)).ok())
        });
        let reply = |result: Result<StreamAppendResult<TypeConfig>, Fatal<TypeConfig>>| {
            result.map(codec::reply_to_wire).map_err(|error| fatal(&error))
        };
        let replies = self.consensus.take_entries(requests).map(reply);
        let end = stream::once(async move { refusal.get().cloned().map(Err) });
        replies.chain(end.filter_map(std::future::ready))
    }

    /// Answers one heartbeat.
    pub(super) async fn beat(
        &self,
        from: u64,
        request: pb::AppendRequest,
    ) -> Result<pb::AppendReply, Status> {
        let request = self.read(from, request)?;
        let (vote, previous, last) = (request.vote, request.prev_log_id, codec::last_of(&request));
        let response = self.beaten(request).await?;
        // A heartbeat follows what this member has acknowledged in this term: of the leader alone
        // that it still follows, and that says so itself.
        if let (AppendEntriesResponse::Conflict, Some(acknowledged)) = (&response, &previous) {
            let index = acknowledged.index();
            if self.consensus.vote_given() <= vote
                && self.claims.confirmed(from, &vote, index).await
            {
                self.lacks(index);
            }
            return Err(Status::failed_precondition("the log lacks what was acknowledged"));
        }
        Ok(codec::response_to_wire(response, previous, last))
    }

    /// What this member says to a heartbeat. openraft would say it when everything before is on
    /// disk.
    ///
    /// But the leader learns nothing of the log from a heartbeat's reply. It learns that when it
    /// sent the heartbeat, this member followed nobody later: which is so as soon as openraft,
    /// which takes one thing after the other, has taken the heartbeat in and still follows that
    /// leader. The vote itself need not be on disk: what is promised here is the past.
    async fn beaten(
        &self,
        request: AppendEntriesRequest<TypeConfig>,
    ) -> Result<AppendEntriesResponse<TypeConfig>, Status> {
        let vote = request.vote;
        let mut said = pin!(self.consensus.take_heartbeat(request));
        tokio::select! {
            response = &mut said => return response.map_err(|e| failed(&e)),
            () = tokio::time::sleep(BEAT_SOON) => {}
        }
        // Asked behind the heartbeat: a refusal does not wait for the disk, and has come before.
        let follows = self.consensus.follows(vote);
        tokio::select! {
            biased;
            response = &mut said => response.map_err(|e| failed(&e)),
            follows = follows => match follows.map_err(|e| fatal(&e))? {
                true => Ok(AppendEntriesResponse::Success),
                false => said.await.map_err(|e| failed(&e)),
            },
        }
    }

    /// Reads a request of the leader, which nobody else sends.
    fn read(
        &self,
        from: u64,
        request: pb::AppendRequest,
    ) -> Result<AppendEntriesRequest<TypeConfig>, Status> {
        let request = codec::append_from_wire(request).map_err(malformed)?;
        self.claims.check_append(from, &request)?;
        self.consensus.heard().note(from, &request.vote);
        Ok(request)
    }

    /// Ends the member when its log lacks what it had acknowledged to the leader it follows: a data
    /// directory from a backup, or one that lost writes. With its vote, others that never had an
    /// acknowledged write could elect one of them.
    fn lacks(&self, acknowledged: u64) {
        let id = self.claims.me;
        (self.on_fault)(format!(
            "this member had acknowledged the log up to index {acknowledged} and does not have \
             it any more: its data directory is an older copy, or has lost writes. Remove the \
             member (etcdctl member remove {id:x}) and add it again with an empty data directory"
        ));
    }
}
