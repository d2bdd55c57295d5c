//! Messages on the wire. Like the codec that comes with the stubs, but for three things: answers
//! may come encoded already, buffers fit small messages, and what does not decode is named as
//! gRPC's own library for Go does.

pub(crate) mod nesting;
pub(crate) mod rows;

use std::marker::PhantomData;

use prost::Message;
use quorate_proto::etcdserverpb as pb;
use tonic::Status;
use tonic::codec::{BufferSettings, Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

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
        self.encode(out).map_err(|error| Status::internal(error.to_string()))
    }
}

/// A request that knows how to be read.
pub(crate) trait Decode: Message + Default + Send + 'static {
    /// Refuses what must not be decoded.
    fn check(_bytes: &[u8]) -> Result<(), Status> {
        Ok(())
    }
}

impl Decode for pb::RangeRequest {}
impl Decode for pb::PutRequest {}
impl Decode for pb::DeleteRangeRequest {}
impl Decode for pb::CompactionRequest {}
impl Decode for pb::WatchRequest {}
impl Decode for pb::TxnRequest {
    fn check(bytes: &[u8]) -> Result<(), Status> {
        nesting::check_txn(bytes)
    }
}

/// The codec of the services with stubs of their own.
#[derive(Debug)]
pub(crate) struct Wire<E, D>(PhantomData<(E, D)>);

impl<E, D> Default for Wire<E, D> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<E: Encode, D: Decode> Codec for Wire<E, D> {
    type Encode = E;
    type Decode = D;
    type Encoder = WireEncoder<E>;
    type Decoder = WireDecoder<D>;

    fn encoder(&mut self) -> WireEncoder<E> {
        WireEncoder(PhantomData)
    }

    fn decoder(&mut self) -> WireDecoder<D> {
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
pub(crate) struct WireDecoder<D>(PhantomData<D>);

impl<D: Decode> Decoder for WireDecoder<D> {
    type Item = D;
    type Error = Status;

    fn decode(&mut self, src: &mut DecodeBuf<'_>) -> Result<Option<D>, Status> {
        use bytes::Buf;
        let bytes = src.copy_to_bytes(src.remaining());
        D::check(&bytes)?;
        match D::decode(bytes) {
            Ok(message) => Ok(Some(message)),
            Err(_) => Err(undecodable()),
        }
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(BUFFER_BYTES, YIELD_BYTES)
    }
}

/// What a client is told whose message is not protobuf.
pub(crate) fn undecodable() -> Status {
    Status::internal(
        "grpc: error unmarshalling request: proto: cannot parse invalid wire-format data",
    )
}
