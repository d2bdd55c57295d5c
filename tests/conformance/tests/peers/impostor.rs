//! A client that speaks the peer protocol and claims to be a member.

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

/// The identity headers of each call.
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
    /// Offers a connection to the member at `url`, for the member's calls to the offerer. `None` if
    /// the member closes it without an answer.
    ///
    /// # Errors
    /// The HTTP status of a refusal.
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

/// A client at a member's peer port that claims to be another member.
pub(crate) struct Impostor {
    channel: Channel,
    claim: Claim,
}

impl Impostor {
    /// Connects to the member at `url` with the identity of `from`, as that member describes it.
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

    /// Calls a method with a message of these bytes, and reads all answers.
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

/// A codec that sends bytes unchanged and discards answers.
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

/// Nested groups in a field that no message has; decoders recurse into them.
pub(crate) fn groups(depth: usize) -> Bytes {
    // The tags of field 1000: start and end of a group.
    let start = [0xc3, 0x3e];
    let end = [0xc4, 0x3e];
    [start.repeat(depth), end.repeat(depth)].concat().into()
}

/// A command with transactions nested `depth` deep.
pub(crate) fn nested_txn(depth: usize) -> Vec<u8> {
    // Built backwards from the innermost level, because each level states the length of its
    // content.
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

/// A proposal as members forward it.
pub(crate) fn proposal(member: u64, command: &[u8]) -> Bytes {
    [&member.to_le_bytes()[..], &7_u64.to_le_bytes(), command].concat().into()
}

/// An encoded message.
pub(crate) fn bytes(message: &impl Message) -> Bytes {
    message.encode_to_vec().into()
}
