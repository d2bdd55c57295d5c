//! Messages on the wire. Like the codec that comes with the stubs, but for four things: answers may
//! come encoded already, buffers fit small messages, what nests too deep is not decoded, and what
//! does not decode is named as gRPC's own library for Go does.

pub(crate) mod rows;

use std::marker::PhantomData;

use prost::Message;
use quorate_proto::etcdserverpb as pb;
use quorate_proto::health;
use quorate_proto::nesting::{self, FLAT, Refused, Shape, TXN, WATCH};
use tonic::Status;
use tonic::codec::{BufferSettings, Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

use crate::error::{ApiError, status};

/// Buffers begin at this size. Most messages are smaller, and a larger one makes its buffer grow.
const BUFFER_BYTES: usize = 512;
/// Answers are handed to the transport when this much is buffered.
const YIELD_BYTES: usize = 32 << 10;

/// An answer that knows how to write itself.
pub(crate) trait Encode: Send + 'static {
    /// Writes the message without its frame.
    fn encode_to(self, out: &mut EncodeBuf<'_>) -> Result<(), Status>;
}

impl<M: Message + 'static> Encode for M {
    fn encode_to(self, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        // A large message would leave a buffer that has twice its size.
        out.reserve(self.encoded_len());
        self.encode_raw(out);
        Ok(())
    }
}

/// A request: what can be decoded once its depth was checked.
pub(crate) trait Decode: Message + Default + Send + 'static {
    /// What is nested in it.
    const SHAPE: &'static Shape = &FLAT;
}

impl Decode for pb::TxnRequest {
    const SHAPE: &'static Shape = &TXN;
}

impl Decode for pb::WatchRequest {
    const SHAPE: &'static Shape = &WATCH;
}

/// Requests with no message in them.
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
    health::HealthCheckRequest,
    health::HealthListRequest,
);

/// How a method takes messages: gRPC's library for Go words it differently when one is no message.
pub(crate) trait Kind: Send + Sync + 'static {
    /// What is said before the reason.
    const UNDECODABLE: &'static str;
}

/// One message.
#[derive(Debug)]
pub(crate) struct Single;

impl Kind for Single {
    const UNDECODABLE: &'static str = "grpc: error unmarshalling request: proto: ";
}

/// A stream, if only of answers.
#[derive(Debug)]
pub(crate) struct Streamed;

impl Kind for Streamed {
    const UNDECODABLE: &'static str = "grpc: failed to unmarshal the received message: proto: ";
}

/// The codec of all methods.
#[derive(Debug)]
pub(crate) struct Wire<E, D, K>(PhantomData<(E, D, K)>);

/// That of methods without a stream.
pub(crate) type UnaryWire<E, D> = Wire<E, D, Single>;

/// That of methods with a stream.
pub(crate) type StreamWire<E, D> = Wire<E, D, Streamed>;

impl<E, D, K> Default for Wire<E, D, K> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<E: Encode, D: Decode, K: Kind> Codec for Wire<E, D, K> {
    type Encode = E;
    type Decode = D;
    type Encoder = WireEncoder<E>;
    type Decoder = WireDecoder<D, K>;

    fn encoder(&mut self) -> WireEncoder<E> {
        WireEncoder(PhantomData)
    }

    fn decoder(&mut self) -> WireDecoder<D, K> {
        WireDecoder(PhantomData)
    }
}

/// Writes answers.
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

/// Reads requests.
#[derive(Debug)]
pub(crate) struct WireDecoder<D, K>(PhantomData<(D, K)>);

impl<D: Decode, K: Kind> Decoder for WireDecoder<D, K> {
    type Item = D;
    type Error = Status;

    fn decode(&mut self, src: &mut DecodeBuf<'_>) -> Result<Option<D>, Status> {
        use bytes::Buf;
        let bytes = src.copy_to_bytes(src.remaining());
        let decoded = nesting::check(&bytes, D::SHAPE)
            .and_then(|()| D::decode(bytes).map_err(|_| Refused::Malformed));
        let reason = match decoded {
            Ok(message) => return Ok(Some(message)),
            Err(Refused::TooManyOperations) => return Err(status(ApiError::TooManyOps)),
            Err(Refused::Malformed) => "cannot parse invalid wire-format data",
            Err(Refused::TooDeep) => "exceeded maximum recursion depth",
        };
        Err(Status::internal(format!("{}{reason}", K::UNDECODABLE)))
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(BUFFER_BYTES, YIELD_BYTES)
    }
}
