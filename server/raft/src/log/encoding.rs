//! Encoding of openraft's types in the log and in the database.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use openraft::entry::EntryPayload;
use prost::Message;
use quorate_core::LogPosition;
use quorate_proto::nesting::{self, FLAT, Shape};
use quorate_storage::wal;

use super::types::{Entry, Membership, Payload, StoredMembership, Vote, log_id, position};
use crate::ground::member::Peer;

/// Kinds of log entries. The numbers are on disk and are never reused.
mod kind {
    pub(super) const BLANK: u8 = 0;
    pub(super) const COMMAND: u8 = 1;
    pub(super) const MEMBERSHIP: u8 = 2;
    pub(super) const FORWARDED: u8 = 3;
}

#[derive(Clone, PartialEq, Eq, Message)]
struct VoteMessage {
    #[prost(uint64, tag = "1")]
    term: u64,
    #[prost(uint64, tag = "2")]
    node: u64,
    #[prost(bool, tag = "3")]
    committed: bool,
}

#[derive(Clone, PartialEq, Eq, Message)]
struct VotersMessage {
    #[prost(uint64, repeated, tag = "1")]
    ids: Vec<u64>,
}

#[derive(Clone, PartialEq, Eq, Message)]
struct PeerMessage {
    #[prost(string, repeated, tag = "1")]
    peer_urls: Vec<String>,
    #[prost(bool, tag = "2")]
    is_learner: bool,
}

impl From<&Peer> for PeerMessage {
    fn from(peer: &Peer) -> Self {
        Self { peer_urls: peer.peer_urls.clone(), is_learner: peer.is_learner }
    }
}

impl From<PeerMessage> for Peer {
    fn from(message: PeerMessage) -> Self {
        Self { peer_urls: message.peer_urls, is_learner: message.is_learner }
    }
}

#[derive(Clone, PartialEq, Eq, Message)]
struct MembershipMessage {
    /// One set of voters, or two in a joint configuration.
    #[prost(message, repeated, tag = "1")]
    voters: Vec<VotersMessage>,
    #[prost(btree_map = "uint64, message", tag = "2")]
    members: BTreeMap<u64, PeerMessage>,
    /// Position of the membership in the log; absent inside a log entry.
    #[prost(uint64, optional, tag = "3")]
    term: Option<u64>,
    #[prost(uint64, optional, tag = "4")]
    index: Option<u64>,
}

static MEMBER: Shape = Shape::new(&[(2, &FLAT)]);
static MEMBERSHIP: Shape = Shape::new(&[(1, &FLAT), (2, &MEMBER)]);

impl MembershipMessage {
    /// Decodes untrusted bytes.
    fn read(bytes: &Bytes) -> Result<Self, String> {
        nesting::check(bytes, &MEMBERSHIP).map_err(|refused| format!("{refused:?}"))?;
        Self::decode(bytes.clone()).map_err(|error| error.to_string())
    }
}

pub(crate) fn encode_vote(vote: &Vote) -> Bytes {
    let message = VoteMessage {
        term: vote.leader_id.term,
        node: vote.leader_id.voted_for,
        committed: vote.committed,
    };
    message.encode_to_vec().into()
}

pub(crate) fn decode_vote(bytes: &Bytes) -> Result<Vote, String> {
    let message = VoteMessage::decode(bytes.clone())
        .map_err(|error| format!("the vote in the log does not decode: {error}"))?;
    let vote = if message.committed {
        Vote::new_committed(message.term, message.node)
    } else {
        Vote::new(message.term, message.node)
    };
    Ok(vote)
}

fn membership_message(membership: &Membership) -> MembershipMessage {
    let voters = membership.get_joint_config().iter();
    let members = membership.nodes();
    MembershipMessage {
        voters: voters.map(|ids| VotersMessage { ids: ids.iter().copied().collect() }).collect(),
        members: members.map(|(id, peer)| (*id, PeerMessage::from(peer))).collect(),
        term: None,
        index: None,
    }
}

fn membership_of(message: MembershipMessage) -> Result<Membership, String> {
    let voters = message.voters.into_iter();
    let voters: Vec<BTreeSet<u64>> = voters.map(|set| set.ids.into_iter().collect()).collect();
    let members = message.members.into_iter();
    let members: BTreeMap<u64, Peer> = members.map(|(id, peer)| (id, Peer::from(peer))).collect();
    if voters.is_empty() && members.is_empty() {
        return Ok(Membership::default());
    }
    Membership::new(voters, members).map_err(|error| format!("invalid membership: {error}"))
}

/// Encodes a membership to be stored in the database.
pub(crate) fn encode_membership(stored: &StoredMembership) -> Bytes {
    let mut message = membership_message(stored.membership());
    if let Some(id) = stored.log_id() {
        let LogPosition { term, index } = position(id);
        (message.term, message.index) = (Some(term), Some(index));
    }
    message.encode_to_vec().into()
}

/// Decodes [`encode_membership`]. Empty bytes are the membership of a new store.
pub(crate) fn decode_membership(bytes: &Bytes) -> Result<StoredMembership, String> {
    let message = MembershipMessage::read(bytes)
        .map_err(|error| format!("the stored membership does not decode: {error}"))?;
    let at = message.term.zip(message.index);
    let at = at.map(|(term, index)| log_id(LogPosition { term, index }));
    Ok(StoredMembership::new(at, membership_of(message)?))
}

/// Encodes an entry for the log.
pub(crate) fn to_wal(entry: Entry) -> wal::Entry {
    let position = position(&entry.log_id);
    let (kind, payload) = match entry.payload {
        EntryPayload::Blank => (kind::BLANK, Bytes::new()),
        EntryPayload::Normal(Payload { is_forwarded: false, bytes }) => (kind::COMMAND, bytes),
        EntryPayload::Normal(Payload { is_forwarded: true, bytes }) => (kind::FORWARDED, bytes),
        EntryPayload::Membership(membership) => {
            (kind::MEMBERSHIP, membership_message(&membership).encode_to_vec().into())
        }
    };
    wal::Entry { position, kind, payload }
}

/// Decodes [`to_wal`].
pub(crate) fn from_wal(entry: wal::Entry) -> Result<Entry, String> {
    let wal::Entry { position, kind, payload } = entry;
    let payload = match kind {
        kind::BLANK => EntryPayload::Blank,
        kind::COMMAND => EntryPayload::Normal(Payload::local(payload)),
        kind::FORWARDED => match Payload::forwarded(payload) {
            Some(payload) => EntryPayload::Normal(payload),
            None => return Err(format!("log entry {} is cut short", position.index)),
        },
        kind::MEMBERSHIP => {
            let message = MembershipMessage::read(&payload).map_err(|error| {
                format!("the membership in log entry {} does not decode: {error}", position.index)
            })?;
            EntryPayload::Membership(membership_of(message)?)
        }
        other => return Err(format!("log entry {} has unknown kind {other}", position.index)),
    };
    Ok(Entry { log_id: log_id(position), payload })
}

/// The membership in an entry; `None` in other kinds of entries.
pub(crate) fn membership_in(entry: wal::Entry) -> Result<Option<Membership>, String> {
    match from_wal(entry)?.payload {
        EntryPayload::Membership(membership) => Ok(Some(membership)),
        EntryPayload::Blank | EntryPayload::Normal(_) => Ok(None),
    }
}

/// A log entry that makes `id` the only member.
pub(crate) fn only_member(at: LogPosition, id: u64, peer: &Peer) -> wal::Entry {
    let message = MembershipMessage {
        voters: vec![VotersMessage { ids: vec![id] }],
        members: BTreeMap::from([(id, PeerMessage::from(peer))]),
        ..Default::default()
    };
    let payload = message.encode_to_vec().into();
    wal::Entry { position: at, kind: kind::MEMBERSHIP, payload }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ground::waiters::ProposalId;

    fn peer(url: &str) -> Peer {
        Peer { peer_urls: vec![url.to_owned()], is_learner: url.ends_with('2') }
    }

    #[test]
    fn votes_and_memberships_decode_as_they_were() {
        for vote in [Vote::new(3, u64::MAX), Vote::new_committed(0, 1)] {
            assert_eq!(decode_vote(&encode_vote(&vote)), Ok(vote));
        }
        let members = BTreeMap::from([(1, peer("http://a:1")), (7, peer("http://b:2"))]);
        let joint = vec![BTreeSet::from([1]), BTreeSet::from([1, 7])];
        let membership = Membership::new(joint, members).unwrap();
        let at = log_id(LogPosition { term: 2, index: 5 });
        for stored in
            [StoredMembership::new(Some(at), membership.clone()), StoredMembership::default()]
        {
            assert_eq!(decode_membership(&encode_membership(&stored)), Ok(stored));
        }
        let origin = ProposalId { member: 7, sequence: u64::MAX };
        let forwarded = Payload::forwarded_bytes(origin, b"command");
        let payload = Payload::forwarded(forwarded.clone()).unwrap();
        assert_eq!((payload.proposal_id(), payload.command()), (Some(origin), "command".into()));
        let payloads = [
            EntryPayload::Blank,
            EntryPayload::Normal(Payload::local(Bytes::from_static(b"command"))),
            EntryPayload::Normal(Payload::forwarded(forwarded).unwrap()),
            EntryPayload::Membership(membership),
        ];
        for payload in payloads {
            let entry = Entry { log_id: at, payload };
            assert_eq!(from_wal(to_wal(entry.clone())), Ok(entry));
        }
        assert_eq!(decode_membership(&Bytes::new()), Ok(StoredMembership::default()));
    }
}
