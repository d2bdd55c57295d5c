//! What a leader sends: entries and heartbeats.

use std::time::Duration;

use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse};
use quorate_proto::peer as pb;
use tonic::Status;

use super::claims;
use super::failures::{failed, fatal, malformed};
use crate::log::types::TypeConfig;
use crate::network::codec;
use crate::peer::Inner;

/// How long a heartbeat waits for the disk: as long as one does that is not busy.
const BEAT_SOON: Duration = Duration::from_millis(2);

/// Answers one heartbeat.
pub(super) async fn beat(
    inner: &Inner,
    from: u64,
    request: pb::AppendRequest,
) -> Result<pb::AppendReply, Status> {
    let request = append_of(inner, from, request)?;
    let (vote, previous, last) = (request.vote, request.prev_log_id, codec::last_of(&request));
    let response = beaten(inner, request).await?;
    // A heartbeat follows what this member has acknowledged in this term: of the leader alone that
    // it still follows, and that says so itself.
    if let (AppendEntriesResponse::Conflict, Some(acknowledged)) = (&response, &previous) {
        let index = acknowledged.index();
        if inner.vote() <= vote && claims::confirmed(inner, from, &vote, index).await {
            inner.lacks(index);
        }
        return Err(Status::failed_precondition("the log lacks what was acknowledged"));
    }
    Ok(codec::response_to_wire(response, previous, last))
}

/// What this member says to a heartbeat. openraft would say it when everything before is on disk.
///
/// But the leader learns nothing of the log from a heartbeat's reply. It learns that when it sent
/// the heartbeat, this member followed nobody later: which is so as soon as openraft, which takes
/// one thing after the other, has taken the heartbeat in and still follows that leader. The vote
/// itself need not be on disk: what is promised here is the past.
pub(super) async fn beaten(
    inner: &Inner,
    request: AppendEntriesRequest<TypeConfig>,
) -> Result<AppendEntriesResponse<TypeConfig>, Status> {
    let vote = request.vote;
    let mut said = std::pin::pin!(inner.raft.append_entries(request));
    tokio::select! {
        response = &mut said => return response.map_err(|e| failed(&e)),
        () = tokio::time::sleep(BEAT_SOON) => {}
    }
    // Asked behind the heartbeat: a refusal does not wait for the disk, and has come before.
    let follows = inner.raft.with_raft_state(move |state| *state.vote_ref() == vote);
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
pub(super) fn append_of(
    inner: &Inner,
    from: u64,
    request: pb::AppendRequest,
) -> Result<AppendEntriesRequest<TypeConfig>, Status> {
    let request = codec::append_from_wire(request).map_err(malformed)?;
    claims::check_append(inner, from, &request)?;
    inner.heard.note(from, &request.vote);
    Ok(request)
}
