//! Checks what a peer's message claims against what this member knows.
//!
//! Messages that do not decode are refused earlier (`codec`). These checks refuse well-formed
//! messages that no member sends: any program can call a port without TLS, and openraft trusts its
//! input.

use std::sync::Arc;
use std::time::Duration;

use openraft::raft::{AppendEntriesRequest, TransferLeaderRequest};
use quorate_core::store::Shared;
use quorate_core::{Command, LogPosition};
use quorate_proto::peer as pb;
use quorate_proto::peer::member_change::Change;
use tonic::{Request, Status};

use crate::consensus::adapter::OpenRaft;
use crate::log::types::{LogId, Payload, TypeConfig, Vote, position};
use crate::network::codec::{self, TERMS_AHEAD_MAX};
use crate::network::peer_channels::PeerChannels;
use crate::network::peer_pool::PeerPool;

/// Maximum number of peer URLs of one member, and of bytes of one URL.
const URLS_MAX: usize = 256;
const URL_BYTES_MAX: usize = 4096;
/// Time limit for a leader to say what this member has acknowledged.
const CONFIRM_WITHIN: Duration = Duration::from_secs(2);

fn wrong(what: impl Into<String>) -> Status {
    Status::invalid_argument(what.into())
}

/// Checks what members claim.
pub(crate) struct Validator {
    pub(crate) me: u64,
    pub(crate) consensus: Arc<OpenRaft>,
    pub(crate) store: Arc<Shared>,
    pub(crate) pool: Arc<PeerPool>,
}

impl Validator {
    fn check_term(&self, term: u64) -> Result<(), Status> {
        let mine = self.consensus.vote_given().leader_id.term;
        if term.saturating_sub(mine) > TERMS_AHEAD_MAX {
            Err(wrong(format!("term {term} is too far ahead of this member's, {mine}")))
        } else {
            Ok(())
        }
    }

    /// Refuses a message of a leader if `from` does not lead by `vote`.
    pub(crate) fn check_leader(&self, from: u64, vote: &Vote) -> Result<(), Status> {
        if !vote.committed || vote.leader_id.voted_for != from {
            return Err(wrong("the caller does not lead in this term"));
        }
        self.check_term(vote.leader_id.term)
    }

    /// Refuses a request for votes if `from` is not the candidate.
    pub(crate) fn check_candidate(&self, from: u64, vote: &Vote) -> Result<(), Status> {
        if vote.committed || vote.leader_id.voted_for != from {
            return Err(wrong("the caller is not the candidate"));
        }
        self.check_term(vote.leader_id.term)
    }

    /// Refuses a transfer of leadership if `from` does not lead, or if it is to another member.
    pub(crate) fn check_transfer(
        &self,
        from: u64,
        request: &TransferLeaderRequest<TypeConfig>,
    ) -> Result<(), Status> {
        self.check_leader(from, request.from_leader())?;
        if *request.to_node_id() == self.me {
            Ok(())
        } else {
            Err(wrong("the leadership is transferred to another member"))
        }
    }

    /// Refuses a leader's request that contradicts itself or the committed entries.
    pub(crate) fn check_append(
        &self,
        from: u64,
        request: &AppendEntriesRequest<TypeConfig>,
    ) -> Result<(), Status> {
        self.check_leader(from, &request.vote)?;
        let last = codec::last_of(request);
        if let Some(leader_commit) = &request.leader_commit {
            let at = position(leader_commit);
            let is_later = at.term > request.vote.leader_id.term;
            if is_later || last.as_ref().is_some_and(|last| contradicts(at, position(last))) {
                return Err(wrong(format!(
                    "entry {} of term {} is not committed",
                    at.index, at.term
                )));
            }
        }
        let Some(committed) = self.consensus.committed_at() else { return Ok(()) };
        let entries = request.entries.iter().map(|entry| &entry.log_id);
        let mut claimed = request.prev_log_id.iter().chain(entries);
        match claimed.find(|id: &&LogId| contradicts(committed, position(id))) {
            Some(id) => {
                Err(wrong(format!("{id} contradicts the entry committed here, {committed:?}")))
            }
            None => Ok(()),
        }
    }

    /// Decodes and checks a proposal that another member forwards for its own client.
    pub(crate) fn proposal(
        &self,
        from: u64,
        bytes: prost::bytes::Bytes,
    ) -> Result<Payload, Status> {
        let payload = Payload::forwarded(bytes).ok_or_else(|| wrong("a proposal is too short"))?;
        if payload.proposal_id().is_none_or(|origin| origin.member != from) {
            return Err(wrong("a proposal is not the caller's own"));
        }
        let command = codec::command_of(&payload).map_err(|error| wrong(error.to_string()))?;
        command.check().map_err(|invalid| wrong(format!("a proposal is invalid: {invalid}")))?;
        if let Command::MemberPublish(publish) = &command {
            let known = |id| {
                let tables = |tables: &quorate_core::tables::Tables| {
                    tables.members.get(&id).map_or(0, |member| member.incarnation)
                };
                self.store.tables(tables)
            };
            // Another incarnation would make the cluster refuse the member that has the data.
            let is_own = publish.id == from && [0, publish.incarnation].contains(&known(from));
            if !is_own {
                return Err(wrong("a member may publish only itself, with its own incarnation"));
            }
        }
        Ok(payload)
    }

    /// How much of the log `of` has acknowledged to this member, if this member leads by `vote`.
    pub(crate) fn acknowledged(&self, of: u64, vote: Option<pb::Vote>) -> pb::AcknowledgedReply {
        let vote = codec::vote_from_wire(vote).ok();
        let acknowledged = vote.and_then(|vote| self.consensus.acknowledged_by(of, &vote));
        pb::AcknowledgedReply { leads: acknowledged.is_some(), index: acknowledged.unwrap_or(0) }
    }

    /// Whether the leader itself says that this member has acknowledged the log up to `index`. Asks
    /// only over proven channels: any program may have sent the heartbeat.
    pub(crate) async fn confirmed(&self, leader: u64, vote: &Vote, index: u64) -> bool {
        let Some(peer) = self.pool.peer(leader).filter(PeerChannels::is_proven) else {
            return false;
        };
        let mut client = peer.control;
        let vote = Some(codec::vote_to_wire(vote));
        let asked = client.acknowledged(Request::new(pb::AcknowledgedRequest { vote }));
        match tokio::time::timeout(CONFIRM_WITHIN, asked).await {
            Ok(Ok(reply)) => {
                let reply = reply.into_inner();
                reply.leads && reply.index >= index
            }
            _ => false,
        }
    }
}

/// Whether one log cannot have both entries: terms never decrease along a log, and all logs have
/// the same entries up to the committed one.
pub(crate) fn contradicts(committed: LogPosition, at: LogPosition) -> bool {
    (at.index <= committed.index && at.term > committed.term)
        || (at.index > committed.index && at.term < committed.term)
        || (at.index == committed.index && at.term != committed.term)
}

/// Refuses a change whose peer URLs cannot be URLs of a member. The API sends no such change.
pub(crate) fn check_change(change: &Change) -> Result<(), Status> {
    let urls = match change {
        Change::Add(add) => &add.peer_urls,
        Change::Update(update) => &update.peer_urls,
        Change::Remove(_) | Change::Promote(_) => return Ok(()),
    };
    let is_good = |url: &String| {
        url.len() <= URL_BYTES_MAX
            && url.contains("://")
            && !url.contains(|c: char| c.is_whitespace() || c.is_control())
    };
    if !urls.is_empty() && urls.len() <= URLS_MAX && urls.iter().all(is_good) {
        Ok(())
    } else {
        Err(wrong("a peer URL is invalid"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_never_decrease_along_a_log() {
        let at = |term, index| LogPosition { term, index };
        let committed = at(3, 10);
        for good in [at(1, 2), at(3, 9), at(3, 10), at(3, 11), at(4, 11)] {
            assert!(!contradicts(committed, good), "{good:?}");
        }
        for bad in [at(4, 2), at(4, 10), at(2, 10), at(2, 11), at(0, 1 << 40)] {
            assert!(contradicts(committed, bad), "{bad:?}");
        }
    }
}
