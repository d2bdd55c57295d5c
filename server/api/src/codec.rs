//! The codec of messages. It differs from tonic's codec in four points: answers may be encoded
//! already, buffers are sized for small messages, messages that nest too deep are refused before
//! decoding, and decoding errors have grpc-go's texts.

pub(crate) mod rows;

use std::marker::PhantomData;

use prost::Message;
use quorate_proto::etcdserverpb as pb;
use quorate_proto::health;
use quorate_proto::nesting::{self, FLAT, Refused, Shape, TXN, WATCH};
use tonic::Status;
use tonic::codec::{BufferSettings, Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

use crate::error::{ApiError, status};

/// Initial size of buffers. Most messages are smaller; a larger message grows its buffer.
const BUFFER_BYTES: usize = 512;
/// Buffered bytes from which on they are passed to the transport.
const YIELD_BYTES: usize = 32 << 10;

/// An answer that can be encoded.
pub(crate) trait Encode: Send + 'static {
    /// Appends the message without the gRPC frame header.
    fn encode_to(self, out: &mut EncodeBuf<'_>) -> Result<(), Status>;
}

impl<M: Message + 'static> Encode for M {
    fn encode_to(self, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        // Without this, the buffer of a large message could grow to twice its size.
        out.reserve(self.encoded_len());
        self.encode_raw(out);
        Ok(())
    }
}

/// A request that can be decoded after its nesting has been checked.
pub(crate) trait Decode: Message + Default + Send + 'static {
    /// The messages nested in it.
    const SHAPE: &'static Shape = &FLAT;
}

impl Decode for pb::TxnRequest {
    const SHAPE: &'static Shape = &TXN;
}

impl Decode for pb::WatchRequest {
    const SHAPE: &'static Shape = &WATCH;
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
    health::HealthCheckRequest,
    health::HealthListRequest,
);

/// The kind of a method, unary or streaming, for which grpc-go has different error texts.
pub(crate) trait Kind: Send + Sync + 'static {
    /// Prefix of the error for a message that cannot be decoded.
    const UNDECODABLE: &'static str;
}

/// A unary method.
#[derive(Debug)]
pub(crate) struct Single;

impl Kind for Single {
    const UNDECODABLE: &'static str = "grpc: error unmarshalling request: proto: ";
}

/// A method with a stream of requests or answers.
#[derive(Debug)]
pub(crate) struct Streamed;

impl Kind for Streamed {
    const UNDECODABLE: &'static str = "grpc: failed to unmarshal the received message: proto: ";
}

/// The codec of all methods.
#[derive(Debug)]
pub(crate) struct Wire<E, D, K>(PhantomData<(E, D, K)>);

/// The codec of unary methods.
pub(crate) type UnaryWire<E, D> = Wire<E, D, Single>;

/// The codec of methods with a stream.
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
