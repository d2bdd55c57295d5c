//! The codec of `Peer`: protobuf, with a check of the depth before a message is decoded.

use std::marker::PhantomData;

use prost::Message;
use prost::bytes::Buf;
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder};
use tonic_prost::{ProstCodec, ProstEncoder};

use crate::nesting::{self, FLAT, Shape};
use crate::peer;

/// A message whose shape is known.
pub(crate) trait Shaped: Message + Default {
    /// Its shape.
    const SHAPE: &'static Shape;
}

macro_rules! shapes {
    ($($message:ident: $shape:expr),* $(,)?) => {
        $(impl Shaped for peer::$message {
            const SHAPE: &'static Shape = $shape;
        })*
    };
}

static ENTRY: Shape = Shape::new(&[(1, &FLAT)]);
static APPEND: Shape = Shape::new(&[(1, &FLAT), (2, &FLAT), (3, &ENTRY), (4, &FLAT)]);
/// A message whose fields 1 to 3 are messages.
static THREE: Shape = Shape::new(&[(1, &FLAT), (2, &FLAT), (3, &FLAT)]);
static FOUR: Shape = Shape::new(&[(1, &FLAT), (2, &FLAT), (3, &FLAT), (4, &FLAT)]);
static HEAD: Shape = Shape::new(&[(1, &FLAT), (2, &FLAT)]);
static POSITION: Shape = Shape::new(&[(4, &FLAT)]);
static PART: Shape = Shape::new(&[(1, &HEAD)]);
static REPLIES: Shape = Shape::new(&[(1, &FLAT)]);
static CONDITIONAL: Shape = Shape::new(&[(2, &FOUR)]);
static DESCRIPTION: Shape = Shape::new(&[(6, &FLAT)]);

shapes! {
    AppendRequest: &APPEND,
    AppendReply: &THREE,
    VoteRequest: &HEAD,
    VoteReply: &THREE,
    TransferRequest: &THREE,
    TransferReply: &THREE,
    SnapshotHead: &HEAD,
    SnapshotPosition: &POSITION,
    SnapshotPart: &PART,
    SnapshotReply: &REPLIES,
    Proposals: &FLAT,
    ProposalReplies: &REPLIES,
    ReadIndexRequest: &FLAT,
    ReadIndexReply: &FLAT,
    LeaseRequest: &FLAT,
    LeaseReply: &FLAT,
    MemberChange: &FOUR,
    ConditionalMemberChange: &CONDITIONAL,
    MemberChangeReply: &FLAT,
    AcknowledgedRequest: &REPLIES,
    AcknowledgedReply: &FLAT,
    DescribeRequest: &FLAT,
    Description: &DESCRIPTION,
    HashRequest: &FLAT,
    HashReply: &FLAT,
}

/// Encodes `T` and decodes `U`.
#[derive(Debug)]
pub(crate) struct PeerCodec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for PeerCodec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> Codec for PeerCodec<T, U>
where
    T: Message + Send + 'static,
    U: Shaped + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = PeerDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstCodec::<T, U>::raw_encoder(tonic::codec::BufferSettings::default())
    }

    fn decoder(&mut self) -> Self::Decoder {
        PeerDecoder(PhantomData)
    }
}

/// Decodes messages.
#[derive(Debug)]
pub(crate) struct PeerDecoder<U>(PhantomData<U>);

impl<U: Shaped> Decoder for PeerDecoder<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, source: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        // This shares the received bytes instead of copying them.
        let bytes = source.copy_to_bytes(source.remaining());
        nesting::check(&bytes, U::SHAPE).map_err(|refused| {
            Status::invalid_argument(format!("the message must not be decoded: {refused:?}"))
        })?;
        let decoded = U::decode(bytes);
        decoded.map(Some).map_err(|error| Status::invalid_argument(error.to_string()))
    }
}
