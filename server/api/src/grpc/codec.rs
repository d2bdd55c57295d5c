//! The codec of messages. It differs from tonic's codec in four ways: answers may be encoded
//! already, buffers are sized for small messages, messages that nest too deep are refused before
//! decoding, and decoding errors have grpc-go's texts.

mod frame;
pub(crate) mod rows;

use std::marker::PhantomData;

use prost::Message;
use quorate_proto::etcdserverpb as pb;
use quorate_proto::nesting::{
    self, FLAT, ROLE_GRANT_PERMISSION, Refused, Shape, TXN, USER_ADD, WATCH,
};
use quorate_proto::{health, v3electionpb, v3lockpb};
use tonic::Status;
use tonic::codec::{BufferSettings, Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

use crate::error::ApiError;

/// Initial size of buffers. Most messages are smaller; a larger message grows its buffer.
const BUFFER_BYTES: usize = 512;
/// When this many bytes are buffered, tonic passes them to the transport.
const YIELD_BYTES: usize = 32 << 10;

/// An answer that can be encoded.
pub(crate) trait Encode: Send + 'static {
    /// Appends the message without the gRPC frame header.
    fn encode_to(self, out: &mut EncodeBuf<'_>) -> Result<(), Status>;
}

impl<M: Message + 'static> Encode for M {
    fn encode_to(self, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        // Without this reservation, the buffer of a large message could grow to twice the message's
        // size.
        out.reserve(self.encoded_len());
        self.encode_raw(out);
        Ok(())
    }
}

/// A request that can be decoded after its nesting has been checked.
pub(crate) trait Decode: Message + Default + Send + 'static {
    /// The messages that can be nested in the request.
    const SHAPE: &'static Shape = &FLAT;
}

impl Decode for pb::TxnRequest {
    const SHAPE: &'static Shape = &TXN;
}

impl Decode for pb::WatchRequest {
    const SHAPE: &'static Shape = &WATCH;
}

impl Decode for pb::AuthUserAddRequest {
    const SHAPE: &'static Shape = &USER_ADD;
}

impl Decode for pb::AuthRoleGrantPermissionRequest {
    const SHAPE: &'static Shape = &ROLE_GRANT_PERMISSION;
}

/// A request with a `LeaderKey` as its first field.
static WITH_LEADER_KEY: Shape = Shape::new(&[(1, &FLAT)]);

impl Decode for v3electionpb::ProclaimRequest {
    const SHAPE: &'static Shape = &WITH_LEADER_KEY;
}

impl Decode for v3electionpb::ResignRequest {
    const SHAPE: &'static Shape = &WITH_LEADER_KEY;
}

/// Requests without nested messages.
macro_rules! flat {
    ($($request:path),* $(,)?) => { $(impl Decode for $request {})* };
}

flat!(
    pb::RangeRequest,
    pb::PutRequest,
    pb::DeleteRangeRequest,
    pb::CompactionRequest,
    pb::LeaseGrantRequest,
    pb::LeaseRevokeRequest,
    pb::LeaseKeepAliveRequest,
    pb::LeaseTimeToLiveRequest,
    pb::LeaseLeasesRequest,
    pb::MemberAddRequest,
    pb::MemberRemoveRequest,
    pb::MemberUpdateRequest,
    pb::MemberListRequest,
    pb::MemberPromoteRequest,
    pb::AlarmRequest,
    pb::StatusRequest,
    pb::DefragmentRequest,
    pb::HashRequest,
    pb::HashKvRequest,
    pb::SnapshotRequest,
    pb::MoveLeaderRequest,
    pb::DowngradeRequest,
    pb::AuthEnableRequest,
    pb::AuthDisableRequest,
    pb::AuthStatusRequest,
    pb::AuthenticateRequest,
    pb::AuthUserGetRequest,
    pb::AuthUserListRequest,
    pb::AuthUserDeleteRequest,
    pb::AuthUserChangePasswordRequest,
    pb::AuthUserGrantRoleRequest,
    pb::AuthUserRevokeRoleRequest,
    pb::AuthRoleAddRequest,
    pb::AuthRoleGetRequest,
    pb::AuthRoleListRequest,
    pb::AuthRoleDeleteRequest,
    pb::AuthRoleRevokePermissionRequest,
    v3electionpb::CampaignRequest,
    v3electionpb::LeaderRequest,
    v3lockpb::LockRequest,
    v3lockpb::UnlockRequest,
    health::HealthCheckRequest,
    health::HealthListRequest,
);

/// The codec of all methods. `STREAM` says whether the method has a stream of requests or answers:
/// grpc-go's error text for such methods is different.
#[derive(Debug)]
pub(crate) struct Wire<E, D, const STREAM: bool>(PhantomData<(E, D)>);

/// The codec of unary methods.
pub(crate) type UnaryWire<E, D> = Wire<E, D, false>;

/// The codec of methods with a stream.
pub(crate) type StreamWire<E, D> = Wire<E, D, true>;

impl<E, D, const STREAM: bool> Default for Wire<E, D, STREAM> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<E: Encode, D: Decode, const STREAM: bool> Codec for Wire<E, D, STREAM> {
    type Encode = E;
    type Decode = D;
    type Encoder = WireEncoder<E>;
    type Decoder = WireDecoder<D, STREAM>;

    fn encoder(&mut self) -> WireEncoder<E> {
        WireEncoder(PhantomData)
    }

    fn decoder(&mut self) -> WireDecoder<D, STREAM> {
        WireDecoder(PhantomData)
    }
}

/// Encodes answers.
#[derive(Debug)]
pub(crate) struct WireEncoder<E>(PhantomData<E>);

impl<E: Encode> Encoder for WireEncoder<E> {
    type Item = E;
    type Error = Status;

    fn encode(&mut self, item: E, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        item.encode_to(out)
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(BUFFER_BYTES, YIELD_BYTES)
    }
}

/// Checks and decodes requests.
#[derive(Debug)]
pub(crate) struct WireDecoder<D, const STREAM: bool>(PhantomData<D>);

impl<D: Decode, const STREAM: bool> Decoder for WireDecoder<D, STREAM> {
    type Item = D;
    type Error = Status;

    fn decode(&mut self, src: &mut DecodeBuf<'_>) -> Result<Option<D>, Status> {
        use bytes::Buf;
        let bytes = src.copy_to_bytes(src.remaining());
        let decoded = nesting::check(&bytes, D::SHAPE)
            .and_then(|()| D::decode(bytes).map_err(|_| Refused::Malformed));
        let reason = match decoded {
            Ok(message) => return Ok(Some(message)),
            Err(Refused::TooManyOperations) => return Err(ApiError::TooManyOps.into()),
            Err(Refused::Malformed) => "cannot parse invalid wire-format data",
            Err(Refused::TooDeep) => "exceeded maximum recursion depth",
        };
        let problem = if STREAM {
            "grpc: failed to unmarshal the received message"
        } else {
            "grpc: error unmarshalling request"
        };
        Err(Status::internal(format!("{problem}: proto: {reason}")))
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(BUFFER_BYTES, YIELD_BYTES)
    }
}
