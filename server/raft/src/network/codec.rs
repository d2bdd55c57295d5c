//! Conversion of openraft's messages to and from the wire format.

use std::fmt::Debug;

use openraft::entry::EntryPayload;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, StreamAppendError, StreamAppendResult,
    TransferLeaderError, TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};
use quorate_core::{Command, LogPosition};
use quorate_proto::peer as pb;
use quorate_storage::wal;

use super::REQUEST_BYTES_MAX;
use crate::log::encoding::{from_wal, to_wal};
use crate::log::types::{LogId, Payload, TypeConfig, Vote, log_id, position};

/// Why a message is invalid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a message of a peer is malformed: {0}")]
pub(crate) struct Malformed(String);

/// How far a received term may be ahead. No cluster holds so many elections while one member is
/// away. A member keeps every higher term that it accepts, and the highest possible term would
/// leave none for the next election.
pub(crate) const TERMS_AHEAD_MAX: u64 = 1 << 28;
/// Terms and indexes are below this bound; larger ones are refused, as arithmetic on them could
/// overflow.
const COUNT_MAX: u64 = u64::MAX / 2;

fn missing(what: &str) -> Malformed {
    Malformed(format!("it has no {what}"))
}

pub(crate) fn id_to_wire(id: &LogId) -> pb::LogId {
    let LogPosition { term, index } = position(id);
    pb::LogId { term, index }
}

pub(crate) fn id_from_wire(id: pb::LogId) -> Result<LogId, Malformed> {
    let pb::LogId { term, index } = id;
    if term.max(index) < COUNT_MAX {
        Ok(log_id(LogPosition { term, index }))
    } else {
        Err(Malformed(format!("entry {index} of term {term} is impossible")))
    }
}

pub(crate) fn vote_to_wire(vote: &Vote) -> pb::Vote {
    pb::Vote {
        term: vote.leader_id.term,
        member: vote.leader_id.voted_for,
        committed: vote.committed,
    }
}

pub(crate) fn vote_from_wire(vote: Option<pb::Vote>) -> Result<Vote, Malformed> {
    let vote = vote.ok_or_else(|| missing("vote"))?;
    if vote.term >= COUNT_MAX {
        return Err(Malformed(format!("term {} is out of range", vote.term)));
    }
    Ok(if vote.committed {
        Vote::new_committed(vote.term, vote.member)
    } else {
        Vote::new(vote.term, vote.member)
    })
}

pub(crate) fn append_to_wire(request: AppendEntriesRequest<TypeConfig>) -> pb::AppendRequest {
    let entries = request.entries.into_iter().map(|entry| {
        let wal::Entry { position, kind, payload } = to_wal(entry);
        let id = pb::LogId { term: position.term, index: position.index };
        pb::Entry { id: Some(id), kind: u32::from(kind), payload }
    });
    pb::AppendRequest {
        vote: Some(vote_to_wire(&request.vote)),
        previous: request.prev_log_id.as_ref().map(id_to_wire),
        entries: entries.collect(),
        committed: request.leader_commit.as_ref().map(id_to_wire),
    }
}

pub(crate) fn append_from_wire(
    request: pb::AppendRequest,
) -> Result<AppendEntriesRequest<TypeConfig>, Malformed> {
    let vote = vote_from_wire(request.vote)?;
    if !vote.committed {
        return Err(Malformed("it is not from a leader".to_owned()));
    }
    let previous = request.previous.map(id_from_wire).transpose()?;
    let (mut term, mut next) = previous.as_ref().map(position).map_or((0, 0), |previous| {
        let LogPosition { term, index } = previous;
        (term, index + 1)
    });
    let entries = request.entries.into_iter().map(|entry| {
        let id = entry.id.ok_or_else(|| missing("position of an entry"))?;
        let LogPosition { term: of, index } = position(&id_from_wire(id)?);
        // Any other entry is fatal to the log and stops the member.
        if index != next || of < term {
            return Err(Malformed(format!(
                "found entry {index} of term {of}, expected entry {next} of term {term} or later"
            )));
        }
        (term, next) = (of, index + 1);
        let kind = u8::try_from(entry.kind)
            .map_err(|_| Malformed(format!("unknown entry kind {}", entry.kind)))?;
        let position = LogPosition { term, index };
        let entry = from_wal(wal::Entry { position, kind, payload: entry.payload });
        let entry = entry.map_err(Malformed)?;
        match &entry.payload {
            EntryPayload::Normal(payload) => drop(command_of(payload)?),
            EntryPayload::Membership(members) if members.voter_ids().next().is_none() => {
                return Err(Malformed(format!("entry {index} leaves no voter")));
            }
            EntryPayload::Membership(_) | EntryPayload::Blank => {}
        }
        Ok(entry)
    });
    let entries = entries.collect::<Result<_, _>>()?;
    if term > vote.leader_id.term {
        return Err(Malformed(format!(
            "a leader of term {} cannot have an entry of term {term}",
            vote.leader_id.term
        )));
    }
    let leader_commit = request.committed.map(id_from_wire).transpose()?;
    Ok(AppendEntriesRequest { vote, prev_log_id: previous, entries, leader_commit })
}

/// The command in a payload.
///
/// # Errors
/// The command does not decode: a member that applies it stops, and stops again at every start. Or
/// it is too long to be sent to another member.
pub(crate) fn command_of(payload: &Payload) -> Result<Command, Malformed> {
    let command = payload.command();
    if command.len() > REQUEST_BYTES_MAX {
        return Err(Malformed(format!("a command of {} bytes is too long", command.len())));
    }
    Command::decode_foreign(&command).map_err(|error| Malformed(error.to_string()))
}

/// The end of a request: the receiver's log is durable up to here once it has stored all of it.
pub(crate) fn last_of(request: &AppendEntriesRequest<TypeConfig>) -> Option<LogId> {
    request.entries.last().map(|entry| entry.log_id).or(request.prev_log_id)
}

/// Encodes the result of one request of a stream.
pub(crate) fn reply_to_wire(result: StreamAppendResult<TypeConfig>) -> pb::AppendReply {
    use pb::append_reply::Outcome;
    let outcome = match result {
        Ok(Some(durable)) => Outcome::Durable(id_to_wire(&durable)),
        Ok(None) => Outcome::Durable(pb::LogId::default()),
        Err(StreamAppendError::Conflict(id)) => Outcome::Conflict(id_to_wire(&id)),
        Err(StreamAppendError::HigherVote(vote)) => Outcome::HigherVote(vote_to_wire(&vote)),
    };
    pb::AppendReply { outcome: Some(outcome) }
}

pub(crate) fn reply_from_wire(
    reply: pb::AppendReply,
) -> Result<StreamAppendResult<TypeConfig>, Malformed> {
    use pb::append_reply::Outcome;
    match reply.outcome.ok_or_else(|| missing("outcome"))? {
        Outcome::Durable(id) if id == pb::LogId::default() => Ok(Ok(None)),
        Outcome::Durable(id) => Ok(Ok(Some(id_from_wire(id)?))),
        Outcome::Conflict(id) => Ok(Err(StreamAppendError::Conflict(id_from_wire(id)?))),
        Outcome::HigherVote(vote) => {
            Ok(Err(StreamAppendError::HigherVote(vote_from_wire(Some(vote))?)))
        }
    }
}

/// Refuses a vote in a reply if its term is further ahead than [`TERMS_AHEAD_MAX`].
pub(crate) fn check_term(vote: &Vote, mine: &Vote) -> Result<(), Malformed> {
    let term = vote.leader_id.term;
    let mine = mine.leader_id.term;
    if term.saturating_sub(mine) > TERMS_AHEAD_MAX {
        Err(Malformed(format!("term {term} is too far ahead of {mine}")))
    } else {
        Ok(())
    }
}

/// Encodes the result of a single request; `previous` and `last` are the bounds of the request.
pub(crate) fn response_to_wire(
    response: AppendEntriesResponse<TypeConfig>,
    previous: Option<LogId>,
    last: Option<LogId>,
) -> pb::AppendReply {
    // The default is never sent: a request without a previous entry cannot conflict.
    let previous = previous.or_else(|| Some(log_id(LogPosition::default())));
    reply_to_wire(response.into_stream_result(previous, last))
}

/// Decodes [`response_to_wire`]; `last` is the end of the request.
pub(crate) fn response_from_wire(
    reply: pb::AppendReply,
    last: Option<LogId>,
) -> Result<AppendEntriesResponse<TypeConfig>, Malformed> {
    Ok(match reply_from_wire(reply)? {
        Ok(durable) if durable == last => AppendEntriesResponse::Success,
        Ok(durable) => AppendEntriesResponse::PartialSuccess(durable),
        Err(StreamAppendError::Conflict(_)) => AppendEntriesResponse::Conflict,
        Err(StreamAppendError::HigherVote(vote)) => AppendEntriesResponse::HigherVote(vote),
    })
}

pub(crate) fn vote_request_to_wire(request: &VoteRequest<TypeConfig>) -> pb::VoteRequest {
    pb::VoteRequest {
        vote: Some(vote_to_wire(&request.vote)),
        last: request.last_log_id.as_ref().map(id_to_wire),
        transfer: request.leadership_transfer,
    }
}

pub(crate) fn vote_request_from_wire(
    request: pb::VoteRequest,
) -> Result<VoteRequest<TypeConfig>, Malformed> {
    Ok(VoteRequest {
        vote: vote_from_wire(request.vote)?,
        last_log_id: request.last.map(id_from_wire).transpose()?,
        leadership_transfer: request.transfer,
    })
}

pub(crate) fn vote_response_to_wire(response: &VoteResponse<TypeConfig>) -> pb::VoteReply {
    pb::VoteReply {
        vote: Some(vote_to_wire(&response.vote)),
        granted: response.vote_granted,
        last: response.last_log_id.as_ref().map(id_to_wire),
    }
}

pub(crate) fn vote_response_from_wire(
    reply: pb::VoteReply,
) -> Result<VoteResponse<TypeConfig>, Malformed> {
    let vote = vote_from_wire(reply.vote)?;
    Ok(VoteResponse {
        vote,
        vote_granted: reply.granted,
        last_log_id: reply.last.map(id_from_wire).transpose()?,
    })
}

pub(crate) fn transfer_to_wire(request: &TransferLeaderRequest<TypeConfig>) -> pb::TransferRequest {
    pb::TransferRequest {
        from: Some(vote_to_wire(request.from_leader())),
        to: *request.to_node_id(),
        last: request.last_log_id().map(id_to_wire),
    }
}

pub(crate) fn transfer_from_wire(
    request: pb::TransferRequest,
) -> Result<TransferLeaderRequest<TypeConfig>, Malformed> {
    let from = vote_from_wire(request.from)?;
    let last = request.last.map(id_from_wire).transpose()?;
    Ok(TransferLeaderRequest::new(from, request.to, last))
}

pub(crate) fn transferred_to_wire(
    response: TransferLeaderResponse<TypeConfig>,
) -> pb::TransferReply {
    use pb::transfer_reply::Outcome;
    let outcome = match response {
        Ok(()) => Outcome::Accepted(true),
        Err(TransferLeaderError::VoteChanged { actual, .. }) => {
            Outcome::OtherVote(vote_to_wire(&actual))
        }
        Err(TransferLeaderError::LogNotFlushed { actual, .. }) => {
            Outcome::Lagging(actual.as_ref().map(id_to_wire).unwrap_or_default())
        }
    };
    pb::TransferReply { outcome: Some(outcome) }
}

/// Decodes [`transferred_to_wire`], the reply to `request`.
pub(crate) fn transferred_from_wire(
    reply: pb::TransferReply,
    request: &TransferLeaderRequest<TypeConfig>,
) -> Result<TransferLeaderResponse<TypeConfig>, Malformed> {
    use pb::transfer_reply::Outcome;
    Ok(match reply.outcome.ok_or_else(|| missing("outcome"))? {
        Outcome::Accepted(_) => Ok(()),
        Outcome::OtherVote(vote) => Err(TransferLeaderError::VoteChanged {
            expected: *request.from_leader(),
            actual: vote_from_wire(Some(vote))?,
        }),
        Outcome::Lagging(id) => Err(TransferLeaderError::LogNotFlushed {
            expected: request.last_log_id().copied(),
            actual: (id != pb::LogId::default()).then(|| id_from_wire(id)).transpose()?,
        }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::types::Entry;

    fn at(term: u64, index: u64) -> LogId {
        log_id(LogPosition { term, index })
    }

    #[test]
    fn requests_decode_as_they_were() {
        let command = Command::Put(Default::default()).encode();
        let payload = EntryPayload::Normal(Payload::local(command));
        let entry = Entry { log_id: at(2, 8), payload };
        let request = AppendEntriesRequest {
            vote: Vote::new_committed(2, 9),
            prev_log_id: Some(at(1, 7)),
            entries: vec![entry.clone()],
            leader_commit: None,
        };
        assert_eq!(last_of(&request), Some(at(2, 8)));
        let read = append_from_wire(append_to_wire(request)).unwrap();
        assert_eq!((read.vote, read.prev_log_id), (Vote::new_committed(2, 9), Some(at(1, 7))));
        assert_eq!((read.entries, read.leader_commit), (vec![entry], None));
        let vote = VoteRequest::new(Vote::new(3, 1), Some(at(2, 8)));
        assert_eq!(vote_request_from_wire(vote_request_to_wire(&vote)), Ok(vote));
        assert!(append_from_wire(pb::AppendRequest::default()).is_err());
        assert!(reply_from_wire(pb::AppendReply::default()).is_err());
    }

    #[test]
    fn entries_that_do_not_follow_each_other_are_refused() {
        let id = |term, index| pb::LogId { term, index };
        let read = |term, previous, ids: &[pb::LogId]| {
            let entry = |id: &pb::LogId| pb::Entry { id: Some(*id), ..Default::default() };
            append_from_wire(pb::AppendRequest {
                vote: Some(pb::Vote { term, member: 9, committed: true }),
                previous,
                entries: ids.iter().map(entry).collect(),
                committed: None,
            })
        };
        let good = [(None, vec![id(0, 0), id(1, 1)]), (Some(id(1, 7)), vec![id(1, 8), id(3, 9)])];
        for (previous, ids) in good {
            assert!(read(3, previous, &ids).is_ok(), "{previous:?} {ids:?}");
        }
        let bad = [
            (None, vec![id(1, 1)]),
            (Some(id(1, 7)), vec![id(1, 9)]),
            (Some(id(1, 7)), vec![id(1, 7)]),
            (Some(id(1, 7)), vec![id(1, 8), id(1, 10)]),
            (Some(id(2, 7)), vec![id(1, 8)]),
            (Some(id(2, 7)), vec![id(3, 8), id(2, 9)]),
            (Some(id(2, 7)), vec![id(4, 8)]),
            (Some(id(4, 7)), vec![]),
            (Some(id(2, u64::MAX)), vec![id(2, 0)]),
        ];
        for (previous, ids) in bad {
            assert!(read(3, previous, &ids).is_err(), "{previous:?} {ids:?}");
        }
        assert!(read(u64::MAX, None, &[]).is_err());
        let vote = Some(pb::Vote { term: 3, member: 9, committed: false });
        assert!(append_from_wire(pb::AppendRequest { vote, ..Default::default() }).is_err());
    }

    #[test]
    fn outcomes_decode_as_they_were() {
        let outcomes = [
            Ok(Some(at(2, 8))),
            Ok(None),
            Err(StreamAppendError::Conflict(at(1, 7))),
            Err(StreamAppendError::HigherVote(Vote::new(4, 2))),
        ];
        for outcome in outcomes {
            assert_eq!(reply_from_wire(reply_to_wire(outcome.clone())), Ok(outcome));
        }
        let previous = Some(at(1, 7));
        let last = Some(at(2, 8));
        let responses = [
            AppendEntriesResponse::Success,
            AppendEntriesResponse::PartialSuccess(previous),
            AppendEntriesResponse::Conflict,
            AppendEntriesResponse::HigherVote(Vote::new(4, 2)),
        ];
        for response in responses {
            let wire = response_to_wire(response.clone(), previous, last);
            assert_eq!(response_from_wire(wire, last), Ok(response));
        }
    }
}
