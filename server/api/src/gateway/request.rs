//! Turns the JSON of a request into the frames of a gRPC call.
//!
//! A body is a sequence of JSON objects. Each object becomes one message. The bytes of an object
//! are charged to the memory budget when they arrive, and the bytes of its decoded form before it
//! is decoded. Both charges end when the object is encoded as a frame.

use std::error::Error;
use std::pin::Pin;

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, stream};
use http_body::{Body, Frame};
use http_body_util::{BodyExt as _, StreamBody};
use prost_reflect::{DeserializeOptions, DynamicMessage, MessageDescriptor};
use tokio::time::{Instant, timeout_at};
use tonic::Status;

use crate::error::ApiError;
use crate::transport::body::REQUEST_WITHIN;
use crate::transport::charge::Held;
use crate::transport::framing::{HEAD_LEN, frame};

/// Largest size of a JSON object, as a multiple of the largest message. Base64 and the names of
/// fields make JSON longer than the message, but by less than this factor.
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
    /// Whether a call with one message begins only at the end of the body.
    pub(super) awaits_end: bool,
    /// Bytes of the largest message.
    pub(super) length_max: usize,
}

/// The body of the call for a request with this JSON body. The bytes of the JSON are charged to
/// `held`.
pub(super) fn call_body<B>(body: B, rules: Rules, held: Held) -> CallBody
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>> + Send,
{
    let text = BytesMut::new();
    let end = End::default();
    let requests = Requests { body, rules, held, text, end, deadline: None, is_done: false };
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
    /// The time by which the current object must be complete.
    deadline: Option<Instant>,
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
                self.deadline = None;
                let frame = self.frame(&object).await?;
                if !self.rules.is_stream {
                    self.is_done = true;
                    if self.rules.awaits_end {
                        while let Some(Ok(_)) = self.body.frame().await {}
                    }
                }
                return Ok(Some(frame));
            }
            if self.end.depth == 0 {
                // The text is only space. There may be any amount of space between objects.
                self.text.clear();
                self.end = End::default();
                self.held.release();
            }
            if self.text.len() > TEXT_TIMES * self.rules.length_max {
                let limit = self.rules.length_max;
                let text = format!("grpc: received message larger than max ({limit})");
                return Err(Status::resource_exhausted(text));
            }
            match self.more().await? {
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

    /// The next bytes of the body. A stream may be idle between objects, but an object that has
    /// begun must arrive in time, because the object holds memory.
    async fn more(&mut self) -> Result<Option<Result<Frame<Bytes>, B::Error>>, Status> {
        if self.end.depth == 0 {
            return Ok(self.body.frame().await);
        }
        let deadline = *self.deadline.get_or_insert_with(|| Instant::now() + REQUEST_WITHIN);
        let more = timeout_at(deadline, self.body.frame()).await;
        more.map_err(|_| ApiError::Timeout.into())
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
    /// Number of bytes that `find` has looked at.
    at: usize,
    /// Number of open objects and arrays.
    depth: usize,
    in_string: bool,
    is_escaped: bool,
    /// Whether the last byte that is no space has opened an object.
    is_opened: bool,
}

impl End {
    /// The length of the object at the start of `text`; `None` if the object is not complete.
    /// Between calls, `text` may only grow.
    ///
    /// # Errors
    /// The text is no object. This method finds the most common mistakes at once, because the end
    /// of an object with such a mistake may never come. The decoder finds the other mistakes when
    /// the object is complete.
    fn find(&mut self, text: &[u8]) -> Result<Option<usize>, Status> {
        while let Some(byte) = text.get(self.at) {
            self.at += 1;
            if self.in_string {
                self.in_string = self.is_escaped || *byte != b'"';
                self.is_escaped = !self.is_escaped && *byte == b'\\';
                continue;
            }
            if byte.is_ascii_whitespace() {
                continue;
            }
            let was_opened = std::mem::replace(&mut self.is_opened, *byte == b'{');
            match byte {
                _ if was_opened && !matches!(byte, b'"' | b'}') => return Err(no_object()),
                b'{' => self.depth += 1,
                _ if self.depth == 0 => return Err(no_object()),
                b'[' => self.depth += 1,
                b'"' => self.in_string = true,
                b'}' | b']' => {
                    self.depth -= 1;
                    if self.depth == 0 {
                        return Ok(Some(self.at));
                    }
                }
                // Numbers, `true`, `false` and `null`.
                b',' | b':' | b'+' | b'-' | b'.' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => {}
                _ => return Err(no_object()),
            }
        }
        Ok(None)
    }
}

fn no_object() -> Status {
    Status::invalid_argument("proto: syntax error: not an object")
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt as _;
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
        let rules = Rules { message, is_stream, awaits_end: true, length_max: 1000 };
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
        for json in ["{x", "{ 1", "{{", "{\"key\";", "[", "{\"key\":'"] {
            let mut end = End::default();
            assert!(end.find(json.as_bytes()).is_err(), "{json}: waits for its end");
        }
        let long = format!("{{\"key\":\"{}\"", "a".repeat(TEXT_TIMES * 1000));
        let error = messages(&long, &budget, false).await.unwrap_err();
        assert_eq!(error, "grpc: received message larger than max (1000)");
    }

    /// The error of a stream whose body begins with `json` and never ends.
    async fn stuck(json: &'static str) -> Option<String> {
        let pool = DescriptorPool::decode(FILE_DESCRIPTOR_SET).unwrap();
        let message = pool.get_message_by_name("etcdserverpb.PutRequest").unwrap();
        let rules = Rules { message, is_stream: true, awaits_end: true, length_max: 1000 };
        let held = Held::new(&Budget::new(1 << 20).account(), Intake::default());
        let sent =
            stream::iter([Ok::<_, Status>(Frame::data(Bytes::from_static(json.as_bytes())))]);
        let body = StreamBody::new(Box::pin(sent.chain(stream::pending())));
        let mut body = call_body(body, rules, held);
        let frame = tokio::time::timeout(2 * REQUEST_WITHIN, body.frame()).await.ok()?;
        Some(frame?.unwrap_err().message().to_owned())
    }

    #[tokio::test(start_paused = true)]
    async fn an_object_that_has_begun_must_arrive_in_time() {
        assert_eq!(stuck("{\"key\":").await.as_deref(), Some(ApiError::Timeout.text()));
        assert_eq!(stuck("\n").await, None, "a stream may be idle");
        let space = " ".repeat(8 * TEXT_TIMES * 1000);
        assert_eq!(stuck(space.leak()).await, None, "space between objects is no object");
    }

    #[tokio::test]
    async fn decoded_values_are_charged() {
        let budget = Budget::new(100 * VALUE_BYTES);
        let many = format!("{{\"x\":[{}1]}}", "1,".repeat(100));
        let error = messages(&many, &budget, false).await.unwrap_err();
        assert_eq!(error, "etcdserver: too many requests");
    }
}
