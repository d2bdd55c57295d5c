//! The types with which openraft is instantiated.

use std::fmt::{self, Debug};

use bytes::Bytes;
use openraft::entry::EntryPayload;
use openraft::impls::{BoxedErrorSource, leader_id_std};
use openraft::raft::responder::Responder;
use openraft::vote::leader_id_std::CommittedLeaderId;
use quorate_core::LogPosition;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use crate::ground::completion::Completer;
use crate::ground::consensus::{Answer, Holding};
use crate::ground::member::Peer;
use crate::ground::waiters::ProposalId;

/// A proposed command, encoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Payload {
    /// Whether a [`ProposalId`] comes before the command.
    pub(super) is_forwarded: bool,
    pub(super) bytes: Bytes,
}

impl Payload {
    /// A command from a client of the leader.
    pub(crate) fn local(command: Bytes) -> Self {
        Self { is_forwarded: false, bytes: command }
    }

    /// A command that another member forwarded to the leader. `bytes` come from
    /// [`forwarded_bytes`](Self::forwarded_bytes); `None` if they are too short.
    pub(crate) fn forwarded(bytes: Bytes) -> Option<Self> {
        (bytes.len() >= ProposalId::LEN).then_some(Self { is_forwarded: true, bytes })
    }

    /// Encodes a forwarded command: the id's member and sequence number, eight bytes little endian
    /// each, then the command.
    pub(crate) fn forwarded_bytes(id: ProposalId, command: &[u8]) -> Bytes {
        let mut bytes = Vec::with_capacity(ProposalId::LEN + command.len());
        bytes.extend_from_slice(&id.member.to_le_bytes());
        bytes.extend_from_slice(&id.sequence.to_le_bytes());
        bytes.extend_from_slice(command);
        bytes.into()
    }

    /// The id of the waiting request; `None` if it waits at the leader.
    pub(crate) fn proposal_id(&self) -> Option<ProposalId> {
        let (member, rest) = self.bytes.split_first_chunk().filter(|_| self.is_forwarded)?;
        let sequence = rest.first_chunk()?;
        let member = u64::from_le_bytes(*member);
        let sequence = u64::from_le_bytes(*sequence);
        Some(ProposalId { member, sequence })
    }

    /// The command.
    pub(crate) fn command(&self) -> Bytes {
        if self.is_forwarded { self.bytes.slice(ProposalId::LEN..) } else { self.bytes.clone() }
    }
}

impl fmt::Display for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.bytes.len())
    }
}

/// The receiver of the result of a proposal. The receiver may have stopped waiting.
pub(crate) enum ReplyTo<T> {
    /// A client of this member.
    Local {
        completer: Completer<T>,
        /// Released with the result.
        held: Holding,
    },
    /// Another member, which waits for the outcome of a proposal.
    Remote {
        /// The other member's sequence number of the proposal.
        sequence: u64,
        /// Has room for all proposals in flight.
        replies: mpsc::Sender<(u64, T)>,
        /// The proposal's part of the bytes in flight on its stream.
        bytes: OwnedSemaphorePermit,
    },
}

impl<T: Send + 'static> Responder<TypeConfig, T> for ReplyTo<T> {
    fn on_complete(self, result: T) {
        match self {
            Self::Local { completer, held } => {
                drop(held);
                completer.complete(result);
            }
            Self::Remote { sequence, replies, bytes } => {
                drop(bytes);
                // It is no error if the other member no longer reads the replies.
                drop(replies.try_send((sequence, result)));
            }
        }
    }
}

/// openraft's type parameters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TypeConfig;

impl openraft::RaftTypeConfig for TypeConfig {
    type D = Payload;
    type R = Answer;
    type NodeId = u64;
    type Node = Peer;
    type Term = u64;
    type LeaderId = leader_id_std::LeaderId<u64, u64>;
    type Vote = Vote;
    type Payload = EntryPayload<Payload, u64, Peer>;
    type Entry = Entry;
    type AsyncRuntime = openraft_rt_tokio::TokioRuntime;
    type Responder<T>
        = ReplyTo<T>
    where
        T: Send + 'static;
    type Batch<T>
        = openraft::impls::InlineBatch<T>
    where
        T: Send + 'static;
    type ErrorSource = BoxedErrorSource;
}

pub(crate) type LogId = openraft::LogId<CommittedLeaderId<u64>>;
pub(crate) type Vote = openraft::Vote<leader_id_std::LeaderId<u64, u64>>;
pub(crate) type Entry = openraft::Entry<CommittedLeaderId<u64>, EntryPayload<Payload, u64, Peer>>;
pub(crate) type Membership = openraft::Membership<u64, Peer>;
pub(crate) type StoredMembership = openraft::StoredMembership<CommittedLeaderId<u64>, u64, Peer>;

pub(crate) fn position(id: &LogId) -> LogPosition {
    LogPosition { term: id.committed_leader_id().term, index: id.index() }
}

pub(crate) fn log_id(at: LogPosition) -> LogId {
    LogId::new(CommittedLeaderId::new(at.term), at.index)
}
