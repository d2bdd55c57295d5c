//! Commands, the payloads of log entries.
//!
//! Layout of a payload: format version (one byte), kind (one byte), a protobuf message. In the
//! newest format, the length of the origin as a varint and the origin come before the message. Keys
//! and values decoded from a payload share its memory. The proposer has decided everything random
//! or timed: for instance, a lease has its id and a TTL within bounds.

mod kind;

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;
use quorate_proto::etcdserverpb::{
    AlarmRequest, CompactionRequest, DeleteRangeRequest, LeaseGrantRequest, LeaseRevokeRequest,
    PutRequest, TxnRequest,
};
use quorate_proto::nesting::{self, FLAT, ROLE_GRANT_PERMISSION, TXN, USER_ADD};

use crate::auth::{AuthCommand, Authenticate, Origin, OriginMessage};
use crate::txn::check::{self, Invalid};
use kind::FORMAT;
pub use kind::{AUTH_FORMAT, CommandKind, USERS_FORMAT};

/// Why the payload of a log entry cannot be decoded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The payload has no format and kind.
    #[error("{0} bytes are too few for a command")]
    TooShort(usize),
    /// Another version of Quorate wrote the payload.
    #[error(
        "it has command format {0}, but this version of Quorate reads only command formats up to \
         {AUTH_FORMAT}; run the version of Quorate that wrote it, or a later one"
    )]
    Format(u8),
    /// No command has this number.
    #[error("command kind {0} is unknown")]
    Kind(u8),
    /// The message is malformed.
    #[error("a {kind:?} command does not decode: {source}")]
    Message {
        /// Kind of the command.
        kind: CommandKind,
        /// Why it does not decode.
        source: prost::DecodeError,
    },
    /// The message nests too deep.
    #[error("a command: {0:?}")]
    Nesting(nesting::Refused),
}

/// Revokes leases that the leader found expired. Ids of leases that are already gone are ignored.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct LeaseExpire {
    /// Ids of the leases, in the order in which they are revoked.
    #[prost(int64, repeated, tag = "1")]
    pub ids: Vec<i64>,
}

/// Publishes a member's name, its client URLs, and the incarnation of its data directory.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct MemberPublish {
    /// Id of the member.
    #[prost(uint64, tag = "1")]
    pub id: u64,
    /// Name of the member.
    #[prost(string, tag = "2")]
    pub name: String,
    /// URLs for clients.
    #[prost(string, repeated, tag = "3")]
    pub client_urls: Vec<String>,
    /// Incarnation of the data directory.
    #[prost(uint64, tag = "4")]
    pub incarnation: u64,
}

/// A change of the replicated state.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Writes one key.
    Put(PutRequest),
    /// Deletes a range of keys.
    DeleteRange(DeleteRangeRequest),
    /// Decides and executes a transaction.
    Txn(TxnRequest),
    /// Compacts history up to a revision.
    Compact(CompactionRequest),
    /// Grants a lease; the proposer has chosen its id and TTL.
    LeaseGrant(LeaseGrantRequest),
    /// Revokes a lease and deletes its keys.
    LeaseRevoke(LeaseRevokeRequest),
    /// Revokes expired leases and deletes their keys.
    LeaseExpire(LeaseExpire),
    /// Lists, raises or disarms alarms.
    Alarm(AlarmRequest),
    /// Sets a member's attributes.
    MemberPublish(MemberPublish),
    /// Changes users or roles, or turns authentication on or off.
    Auth(AuthCommand),
    /// Gives a token to a user.
    Authenticate(Authenticate),
}

impl Command {
    /// Encodes the payload of a log entry into a new allocation.
    pub fn encode(&self) -> Bytes {
        self.encode_from(&Origin::Unknown)
    }

    /// Encodes the payload of a log entry with its origin into a new allocation. Without an origin,
    /// members of earlier versions can apply most commands.
    pub fn encode_from(&self, origin: &Origin) -> Bytes {
        match self {
            Self::Put(m) => encode(CommandKind::Put, m, origin),
            Self::DeleteRange(m) => encode(CommandKind::DeleteRange, m, origin),
            Self::Txn(m) => encode(CommandKind::Txn, m, origin),
            Self::Compact(m) => encode(CommandKind::Compact, m, origin),
            Self::LeaseGrant(m) => encode(CommandKind::LeaseGrant, m, origin),
            Self::LeaseRevoke(m) => encode(CommandKind::LeaseRevoke, m, origin),
            Self::LeaseExpire(m) => encode(CommandKind::LeaseExpire, m, origin),
            Self::Alarm(m) => encode(CommandKind::Alarm, m, origin),
            Self::MemberPublish(m) => encode(CommandKind::MemberPublish, m, origin),
            Self::Authenticate(m) => encode(CommandKind::Authenticate, m, origin),
            Self::Auth(auth) => {
                let mut payload = begin(auth.kind(), auth.encoded_len(), origin);
                auth.encode(&mut payload);
                payload.freeze()
            }
        }
    }

    /// Decodes a payload; keys and values share its memory.
    ///
    /// # Errors
    /// The payload has an unknown format or kind, or is malformed.
    pub fn decode(payload: &Bytes) -> Result<(Self, Origin), DecodeError> {
        let Parts { kind, origin, message } = Parts::of(payload)?;
        let malformed = |source| DecodeError::Message { kind, source };
        let origin = if origin.is_empty() {
            Origin::Unknown
        } else {
            OriginMessage::decode(origin).map_err(malformed)?.into()
        };
        Ok((Self::decode_message(kind, message).map_err(malformed)?, origin))
    }

    fn decode_message(kind: CommandKind, message: Bytes) -> Result<Self, prost::DecodeError> {
        if let Some(auth) = AuthCommand::decode(kind, message.clone()) {
            return auth.map(Self::Auth);
        }
        match kind {
            CommandKind::Put => PutRequest::decode(message).map(Self::Put),
            CommandKind::DeleteRange => DeleteRangeRequest::decode(message).map(Self::DeleteRange),
            CommandKind::Txn => TxnRequest::decode(message).map(Self::Txn),
            CommandKind::Compact => CompactionRequest::decode(message).map(Self::Compact),
            CommandKind::LeaseGrant => LeaseGrantRequest::decode(message).map(Self::LeaseGrant),
            CommandKind::LeaseRevoke => LeaseRevokeRequest::decode(message).map(Self::LeaseRevoke),
            CommandKind::LeaseExpire => LeaseExpire::decode(message).map(Self::LeaseExpire),
            CommandKind::Alarm => AlarmRequest::decode(message).map(Self::Alarm),
            CommandKind::MemberPublish => MemberPublish::decode(message).map(Self::MemberPublish),
            _ => Authenticate::decode(message).map(Self::Authenticate),
        }
    }

    /// Decodes a payload from an untrusted sender. Checks the depth of nested messages first,
    /// because decoding recurses as deep as a transaction nests.
    ///
    /// # Errors
    /// The payload nests too deep or cannot be decoded. A member that applied it would stop.
    pub fn decode_foreign(payload: &Bytes) -> Result<Self, DecodeError> {
        let Parts { kind, origin, message } = Parts::of(payload)?;
        let shape = match kind {
            CommandKind::Txn => &TXN,
            CommandKind::AuthUserAdd => &USER_ADD,
            CommandKind::AuthRoleGrantPermission => &ROLE_GRANT_PERMISSION,
            _ => &FLAT,
        };
        nesting::check(&origin, &FLAT).map_err(DecodeError::Nesting)?;
        nesting::check(&message, shape).map_err(DecodeError::Nesting)?;
        Self::decode(payload).map(|(command, _)| command)
    }

    /// Checks the command as the API does before it proposes one. Does not limit the number of
    /// operations in a transaction: only the proposing member does.
    ///
    /// # Errors
    /// No state could answer the command.
    pub fn check(&self) -> Result<(), Invalid> {
        match self {
            Self::Put(put) => check::check_put(put),
            Self::DeleteRange(delete) => check::check_delete_range(delete),
            Self::Txn(txn) => check::check_operations(txn, usize::MAX),
            _ => Ok(()),
        }
    }

    /// The kind of the command.
    pub fn kind(&self) -> CommandKind {
        match self {
            Self::Put(_) => CommandKind::Put,
            Self::DeleteRange(_) => CommandKind::DeleteRange,
            Self::Txn(_) => CommandKind::Txn,
            Self::Compact(_) => CommandKind::Compact,
            Self::LeaseGrant(_) => CommandKind::LeaseGrant,
            Self::LeaseRevoke(_) => CommandKind::LeaseRevoke,
            Self::LeaseExpire(_) => CommandKind::LeaseExpire,
            Self::Alarm(_) => CommandKind::Alarm,
            Self::MemberPublish(_) => CommandKind::MemberPublish,
            Self::Auth(auth) => auth.kind(),
            Self::Authenticate(_) => CommandKind::Authenticate,
        }
    }
}

/// The parts of a payload.
struct Parts {
    kind: CommandKind,
    /// Empty for an unknown origin.
    origin: Bytes,
    message: Bytes,
}

impl Parts {
    fn of(payload: &Bytes) -> Result<Self, DecodeError> {
        let (format, kind) = match payload.as_ref() {
            [format, kind, ..] => (*format, *kind),
            _ => return Err(DecodeError::TooShort(payload.len())),
        };
        if !(FORMAT..=AUTH_FORMAT).contains(&format) {
            return Err(DecodeError::Format(format));
        }
        let kind = CommandKind::of(payload).ok_or(DecodeError::Kind(kind))?;
        let mut rest = payload.slice(2..);
        let mut origin = Bytes::new();
        if format == AUTH_FORMAT {
            let length = prost::decode_length_delimiter(&mut rest);
            let length = length.map_err(|source| DecodeError::Message { kind, source })?;
            if length > rest.len() {
                return Err(DecodeError::TooShort(payload.len()));
            }
            origin = rest.split_to(length);
        }
        Ok(Self { kind, origin, message: rest })
    }
}

/// Begins a payload for a message of this length.
fn begin(kind: CommandKind, length: usize, origin: &Origin) -> BytesMut {
    let format = if *origin == Origin::Unknown { kind.format() } else { AUTH_FORMAT };
    if format != AUTH_FORMAT {
        let mut payload = BytesMut::with_capacity(2 + length);
        payload.put_slice(&[format, kind as u8]);
        return payload;
    }
    let origin = OriginMessage::from(origin);
    let origin_length = prost::length_delimiter_len(origin.encoded_len()) + origin.encoded_len();
    let mut payload = BytesMut::with_capacity(2 + origin_length + length);
    payload.put_slice(&[format, kind as u8]);
    origin.encode_length_delimited(&mut payload).expect("the buffer grows");
    payload
}

fn encode(kind: CommandKind, message: &impl Message, origin: &Origin) -> Bytes {
    let mut payload = begin(kind, message.encoded_len(), origin);
    message.encode(&mut payload).expect("the buffer grows");
    payload.freeze()
}

#[cfg(test)]
mod tests {
    use quorate_proto::etcdserverpb::{AuthEnableRequest, AuthRoleAddRequest};

    use super::*;

    #[test]
    fn commands_survive_the_log() {
        let put = PutRequest { key: "k".into(), value: "v".into(), lease: 7, ..Default::default() };
        let commands = [
            Command::Put(put),
            Command::LeaseExpire(LeaseExpire { ids: vec![3, i64::MIN] }),
            Command::Compact(CompactionRequest { revision: 9, physical: true }),
            Command::MemberPublish(MemberPublish {
                id: u64::MAX,
                name: "n".to_owned(),
                client_urls: vec!["http://localhost:2379".to_owned()],
                incarnation: 7,
            }),
            Command::Auth(AuthCommand::RoleAdd(AuthRoleAddRequest { name: "r".to_owned() })),
            Command::Auth(AuthCommand::Enable(AuthEnableRequest {})),
            Command::Authenticate(Authenticate {
                name: "n".to_owned(),
                prefix: "p".to_owned(),
                revision: 5,
            }),
        ];
        let user = |name: &str, revision| Origin::User { name: name.into(), revision };
        let origins = [Origin::Unknown, Origin::Cluster, user("", 0), user("alice", u64::MAX)];
        for command in commands {
            for origin in &origins {
                let payload = command.encode_from(origin);
                let expected = Ok((command.clone(), origin.clone()));
                assert_eq!(Command::decode(&payload), expected);
                assert_eq!(Command::decode_foreign(&payload), Ok(command.clone()));
                assert_eq!(CommandKind::of(&payload), Some(command.kind()));
            }
        }
    }

    #[test]
    fn only_an_origin_needs_the_newest_format() {
        let put = Command::Put(PutRequest::default());
        assert_eq!(put.encode()[..2], [FORMAT, CommandKind::Put as u8]);
        let role = AuthRoleAddRequest { name: String::new() };
        let role = Command::Auth(AuthCommand::RoleAdd(role));
        assert_eq!(role.encode()[0], USERS_FORMAT);
        for command in [put, role] {
            assert_eq!(command.encode_from(&Origin::Cluster)[0], AUTH_FORMAT);
        }
    }

    #[test]
    fn values_share_the_payload() {
        let put =
            PutRequest { key: "key".into(), value: vec![7; 300].into(), ..Default::default() };
        let payload = Command::Put(put).encode();
        let Ok((Command::Put(decoded), _)) = Command::decode(&payload) else { panic!("a put") };
        assert!(payload.as_ptr_range().contains(&decoded.value.as_ptr()));
    }

    #[test]
    fn malformed_payloads_are_refused() {
        let [bad_kind, bad_message] = [b"\x01\xff".as_slice(), b"\x01\x01\xff\xff\xff"];
        // A kind with the format of others, and a format that does not exist yet.
        let bad_formats = [b"\x02\x01".as_slice(), b"\x01\x0a", b"\x02\x13", b"\x04\x01"];
        let bad_origins = [b"\x03\x01".as_slice(), b"\x03\x01\x02\x08", b"\x03\x01\x01\xff"];
        let bad = [&b""[..], b"\x01", bad_kind, bad_message].into_iter();
        for payload in bad.chain(bad_formats).chain(bad_origins) {
            assert!(Command::decode(&Bytes::copy_from_slice(payload)).is_err());
        }
    }
}
