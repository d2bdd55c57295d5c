//! A client that speaks the members' protocol and belongs to nobody.

use prost::Message;
use prost::bytes::{BufMut as _, Bytes};
use quorate_proto::peer as pb;
use quorate_proto::peer::peer_client::PeerClient;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};

/// What every call says.
#[derive(Clone)]
pub(crate) struct Claim {
    pub(crate) cluster: String,
    pub(crate) from: String,
    pub(crate) to: String,
}

impl tonic::service::Interceptor for Claim {
    fn call(&mut self, mut request: tonic::Request<()>) -> Result<tonic::Request<()>, Status> {
        let headers = request.metadata_mut();
        let claims = [("cluster", &self.cluster), ("from", &self.from), ("to", &self.to)];
        for (name, value) in claims {
            let name = ["quorate-cluster", "quorate-from", "quorate-to"]
                .into_iter()
                .find(|header| header.ends_with(name))
                .unwrap();
            headers.insert(name, value.parse().unwrap());
        }
        Ok(request)
    }
}

impl Claim {
    /// Offers a connection to the member at `url`, to be called over it. What it answers instead of
    /// taking it, if it does; nothing when it says nothing.
    pub(crate) async fn offer(&self, url: &str, number: u64) -> Result<Option<TcpStream>, u16> {
        let address = url.strip_prefix("http://").unwrap();
        let mut connection = TcpStream::connect(address).await.unwrap();
        let Self { cluster, from, to } = self;
        let request = format!(
            "GET / HTTP/1.1\r\nhost: member\r\nconnection: upgrade\r\nupgrade: quorate-lending\r\n\
             quorate-cluster: {cluster}\r\nquorate-from: {from}\r\nquorate-to: {to}\r\n\
             quorate-lender: {number:x}\r\n\r\n"
        );
        connection.write_all(request.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            match connection.read_u8().await {
                Ok(byte) => head.push(byte),
                Err(_) => return Ok(None),
            }
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        match head.split(' ').nth(1).and_then(|status| status.parse().ok()) {
            Some(101) => Ok(Some(connection)),
            status => Err(status.unwrap_or_default()),
        }
    }
}

/// Somebody at the peer port of one member who claims to be another one.
pub(crate) struct Stranger {
    channel: Channel,
    claim: Claim,
}

impl Stranger {
    /// Calls the member at `url` in the name of `from`, which that member describes.
    pub(crate) async fn new(url: &str, from: u64) -> Self {
        let channel = Endpoint::from_shared(url.to_owned()).unwrap().connect().await.unwrap();
        let described = PeerClient::new(channel.clone()).describe(pb::DescribeRequest {}).await;
        let known = described.unwrap().into_inner();
        let caller = known.members.iter().find(|member| member.id == from).unwrap();
        let claim = Claim {
            cluster: format!("{:x}", known.cluster_id),
            from: format!("{from:x}.{:x}", caller.incarnation),
            to: format!("{:x}.{:x}", known.member_id, known.incarnation),
        };
        Self { channel, claim }
    }

    pub(crate) fn claim(&self) -> Claim {
        self.claim.clone()
    }

    pub(crate) fn client(&self) -> PeerClient<InterceptedService<Channel, Claim>> {
        self.client_with(self.claim())
    }

    pub(crate) fn client_with(
        &self,
        claim: Claim,
    ) -> PeerClient<InterceptedService<Channel, Claim>> {
        PeerClient::with_interceptor(self.channel.clone(), claim)
    }

    /// Calls a method with a message of these bytes, and reads answers to their end.
    pub(crate) async fn raw(&self, method: &str, message: Bytes) -> Result<(), Status> {
        let service = InterceptedService::new(self.channel.clone(), self.claim());
        let mut client = tonic::client::Grpc::new(service);
        client.ready().await.unwrap();
        let path = format!("/quorate.peer.v1.Peer/{method}").parse().unwrap();
        let messages = tonic::Request::new(tokio_stream::once(message));
        let mut answers = client.streaming(messages, path, Raw).await?.into_inner();
        while answers.message().await?.is_some() {}
        Ok(())
    }
}

/// Bytes as they are.
#[derive(Clone, Copy)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = ();
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = ();
    type Error = Status;

    fn decode(&mut self, source: &mut DecodeBuf<'_>) -> Result<Option<()>, Status> {
        use prost::bytes::Buf as _;
        source.advance(source.remaining());
        Ok(Some(()))
    }
}

/// Groups in groups, in a field that no message has: decoding recurses.
pub(crate) fn groups(depth: usize) -> Bytes {
    // Field 1000.
    let (start, end) = ([0xc3, 0x3e], [0xc4, 0x3e]);
    [start.repeat(depth), end.repeat(depth)].concat().into()
}

/// A command that is a transaction in a transaction and so on.
pub(crate) fn nested_txn(depth: usize) -> Vec<u8> {
    // From the inside: each level says the length of what is in it.
    let mut reversed: Vec<u8> = Vec::new();
    for _ in 0..depth {
        for tag in [4 << 3 | 2, 2 << 3 | 2_u8] {
            let mut length = Vec::new();
            prost::encoding::encode_varint(reversed.len() as u64, &mut length);
            reversed.extend(length.into_iter().rev());
            reversed.push(tag);
        }
    }
    reversed.extend([3, 1]);
    reversed.reverse();
    reversed
}

/// A proposal as a member passes it on.
pub(crate) fn proposal(member: u64, command: &[u8]) -> Bytes {
    [&member.to_le_bytes()[..], &7_u64.to_le_bytes(), command].concat().into()
}

/// A message's bytes.
pub(crate) fn bytes(message: &impl Message) -> Bytes {
    message.encode_to_vec().into()
}
