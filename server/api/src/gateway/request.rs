//! Turns the JSON of a request into the frames of a gRPC call.
//!
//! A body is a sequence of JSON objects, each of which becomes one message. The bytes of the JSON
//! and of its decoded form are charged to the memory budget until the frame is passed on.

use std::error::Error;
use std::pin::Pin;

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, stream};
use http_body::{Body, Frame};
use http_body_util::{BodyExt as _, StreamBody};
use prost_reflect::{DeserializeOptions, DynamicMessage, MessageDescriptor};
use tonic::Status;

use crate::error::ApiError;
use crate::transport::charge::Held;
use crate::transport::framing::{HEAD_LEN, frame};

/// Largest size of a JSON object, as a multiple of the largest message. Base64 and the names of
/// fields make JSON longer than the message, but by less than this.
const TEXT_TIMES: usize = 4;
/// Charged bytes of a JSON value. The decoded form of a value never needs more.
const VALUE_BYTES: usize = 1 << 10;
const OPTIONS: DeserializeOptions = DeserializeOptions::new().deny_unknown_fields(false);

type Frames = Pin<Box<dyn Stream<Item = Result<Frame<Bytes>, Status>> + Send>>;

/// The body of the call.
pub(crate) type CallBody = StreamBody<Frames>;

/// How to read the requests of a method.
pub(super) struct Rules {
    pub(super) message: MessageDescriptor,
    /// Whether the body is a stream of messages.
    pub(super) is_stream: bool,
    /// Bytes of the largest message.
    pub(super) length_max: usize,
}

/// The body of the call for a request with this JSON body. Its bytes are charged to `held`.
pub(super) fn call_body<B>(body: B, rules: Rules, held: Held) -> CallBody
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>> + Send,
{
    let text = BytesMut::new();
    let requests = Requests { body, rules, held, text, end: End::default(), is_done: false };
    let frames = stream::try_unfold(requests, async |mut requests| {
        let frame = requests.next().await?;
        Ok(frame.map(|frame| (Frame::data(frame), requests)))
    });
    StreamBody::new(Box::pin(frames))
}

/// The JSON objects of a request.
struct Requests<B> {
    body: B,
    rules: Rules,
    held: Held,
    /// Received bytes that are not decoded yet.
    text: BytesMut,
    end: End,
    is_done: bool,
}

impl<B> Requests<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>> + Send,
{
    /// The frame of the next object; `None` after the last one.
    async fn next(&mut self) -> Result<Option<Bytes>, Status> {
        if self.is_done {
            return Ok(None);
        }
        loop {
            if let Some(length) = self.end.find(&self.text)? {
                let object = self.text.split_to(length);
                self.end = End::default();
                let frame = self.frame(&object).await?;
                if !self.rules.is_stream {
                    self.is_done = true;
                    // As in etcd, the call begins when the body has been read to its end.
                    while let Some(Ok(_)) = self.body.frame().await {}
                }
                return Ok(Some(frame));
            }
            if self.text.len() > TEXT_TIMES * self.rules.length_max {
                let limit = self.rules.length_max;
                let text = format!("grpc: received message larger than max ({limit})");
                return Err(Status::resource_exhausted(text));
            }
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.charge(data.len()).await?;
                        self.text.extend_from_slice(&data);
                    }
                }
                Some(Err(_)) => return Err(ApiError::Canceled.into()),
                None => return self.ended(),
            }
        }
    }

    /// The frame for the end of the body. For a method with one message, an empty body is an empty
    /// message.
    fn ended(&mut self) -> Result<Option<Bytes>, Status> {
        self.is_done = true;
        if self.text.iter().any(|byte| !byte.is_ascii_whitespace()) {
            return Err(Status::invalid_argument("unexpected EOF"));
        }
        Ok((!self.rules.is_stream).then(|| Bytes::from_static(&[0; HEAD_LEN])))
    }

    async fn charge(&mut self, bytes: usize) -> Result<(), Status> {
        if self.held.try_grow(bytes) {
            return Ok(());
        }
        let grown = self.held.clone().grow(bytes).await;
        grown.map_err(|_| ApiError::TooManyRequests.into())
    }

    /// Decodes an object and encodes it as a gRPC frame.
    async fn frame(&mut self, object: &[u8]) -> Result<Bytes, Status> {
        let values = object.iter().filter(|byte| matches!(byte, b'{' | b'[' | b',')).count();
        self.charge(object.len() + values.saturating_mul(VALUE_BYTES)).await?;
        let frame = encode(object, &self.rules.message);
        self.held.release();
        self.charge(self.text.len()).await?;
        frame
    }
}

fn encode(object: &[u8], message: &MessageDescriptor) -> Result<Bytes, Status> {
    let mut json = serde_json::Deserializer::from_slice(object);
    let decoded = DynamicMessage::deserialize_with_options(message.clone(), &mut json, &OPTIONS);
    let message = decoded.map_err(|error| Status::invalid_argument(format!("proto: {error}")))?;
    Ok(frame(&message)?)
}

/// Finds the end of a JSON object while its bytes arrive.
#[derive(Default)]
struct End {
    /// Number of bytes that have been looked at.
    at: usize,
    /// Number of open objects and arrays.
    depth: usize,
    in_string: bool,
    is_escaped: bool,
}

impl End {
    /// The length of the object at the start of `text`; `None` if the object is not complete.
    /// Between calls, `text` may only grow.
    fn find(&mut self, text: &[u8]) -> Result<Option<usize>, Status> {
        while let Some(byte) = text.get(self.at) {
            self.at += 1;
            if self.in_string {
                self.in_string = self.is_escaped || *byte != b'"';
                self.is_escaped = !self.is_escaped && *byte == b'\\';
                continue;
            }
            match byte {
                b'{' => self.depth += 1,
                _ if self.depth == 0 && byte.is_ascii_whitespace() => {}
                _ if self.depth == 0 => {
                    return Err(Status::invalid_argument("proto: syntax error: not an object"));
                }
                b'[' => self.depth += 1,
                b'"' => self.in_string = true,
                b'}' | b']' => {
                    self.depth -= 1;
                    if self.depth == 0 {
                        return Ok(Some(self.at));
                    }
                }
                _ => {}
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::Full;
    use prost::Message as _;
    use prost_reflect::DescriptorPool;
    use quorate_proto::FILE_DESCRIPTOR_SET;
    use quorate_proto::etcdserverpb::PutRequest;
    use quorate_raft::Budget;

    use super::*;
    use crate::transport::intake::Intake;

    /// The messages of a body, or the error.
    async fn messages(
        json: &str,
        budget: &Budget,
        is_stream: bool,
    ) -> Result<Vec<PutRequest>, String> {
        let pool = DescriptorPool::decode(FILE_DESCRIPTOR_SET).unwrap();
        let message = pool.get_message_by_name("etcdserverpb.PutRequest").unwrap();
        let rules = Rules { message, is_stream, length_max: 1000 };
        let held = Held::new(&budget.account(), Intake::default());
        let mut body = call_body(Full::new(Bytes::from(json.to_owned())), rules, held);
        let mut messages = Vec::new();
        while let Some(frame) = body.frame().await {
            let data = frame.map_err(|status| status.message().to_owned())?.into_data().unwrap();
            assert_eq!(
                data[..5],
                [&[0][..], &(u32::try_from(data.len() - 5).unwrap()).to_be_bytes()].concat()
            );
            messages.push(PutRequest::decode(&data[5..]).unwrap());
        }
        Ok(messages)
    }

    #[tokio::test]
    async fn objects_become_frames() {
        let budget = Budget::new(1 << 20);
        let put = PutRequest { key: "a}\"".into(), lease: 7, ..PutRequest::default() };
        let json = "{\"key\":\"YX0i\",\"x\":\"}\\\"\\\\\",\"lease\":\"7\"} { } ";
        let both = messages(json, &budget, true).await.unwrap();
        assert_eq!(both, [put.clone(), PutRequest::default()]);
        assert_eq!(messages(json, &budget, false).await.unwrap(), [put]);
        assert_eq!(messages(" ", &budget, true).await.unwrap(), []);
        assert_eq!(messages("", &budget, false).await.unwrap(), [PutRequest::default()]);
        assert_eq!(budget.used(), 0);
    }

    #[tokio::test]
    async fn bad_bodies_are_refused() {
        let budget = Budget::new(1 << 20);
        for json in ["1", "null", "[]", "}", "{", "{\"key\":1}", "{\"lease\":\"x\"}", "{]"] {
            assert!(messages(json, &budget, false).await.is_err(), "{json}");
        }
        let long = format!("{{\"key\":\"{}\"", "a".repeat(TEXT_TIMES * 1000));
        let error = messages(&long, &budget, false).await.unwrap_err();
        assert_eq!(error, "grpc: received message larger than max (1000)");
    }

    #[tokio::test]
    async fn decoded_values_are_charged() {
        let budget = Budget::new(100 * VALUE_BYTES);
        let many = format!("{{\"x\":[{}1]}}", "1,".repeat(100));
        let error = messages(&many, &budget, false).await.unwrap_err();
        assert_eq!(error, "etcdserver: too many requests");
    }
}
