//! Writes the messages of an answer as JSON while their bytes arrive, so that a large answer is
//! never in memory as a whole.
//!
//! The form is etcd's: field names as in the definitions, 64-bit integers and bytes as strings,
//! enum values by name, and no default values. No other field may stand between the elements of a
//! list, and none does in the messages of a member. No message of etcd's API has maps, groups,
//! floating-point numbers or packed lists.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Buf as _, BytesMut};
use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};
use serde_json::Value;

use crate::transport::framing::HEAD_LEN;

/// Longest encoding of a number, in bytes.
const VARINT_LEN_MAX: usize = 10;

/// The bytes are not a message of the expected type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// A message whose end has not arrived.
struct Open {
    message: MessageDescriptor,
    /// Position of its end.
    end: usize,
    /// Number of the list field that is being written.
    list: Option<u32>,
    is_empty: bool,
}

/// A field's value as it is encoded.
enum Encoded {
    Number(u64),
    /// The length of a value that may still have to arrive.
    Length(usize),
}

/// Writes JSON.
pub(super) struct Writer {
    message: MessageDescriptor,
    /// Whether the answer is a stream. Each message of a stream is a line.
    is_stream: bool,
    /// Bytes of an incomplete frame head, field or leaf value.
    pending: BytesMut,
    /// Number of bytes that have been read.
    at: usize,
    open: Vec<Open>,
    text: String,
    /// Whether the text ends with the line of a message of a stream.
    ends_line: bool,
}

impl Writer {
    pub(super) fn new(message: MessageDescriptor, is_stream: bool) -> Self {
        let (pending, open, text) = (BytesMut::new(), Vec::new(), String::new());
        Self { message, is_stream, pending, at: 0, open, text, ends_line: false }
    }

    /// Takes bytes of the answer, and writes on.
    pub(super) fn take(&mut self, data: &[u8]) -> Result<(), Malformed> {
        self.pending.extend_from_slice(data);
        self.write()
    }

    /// Writes the bytes that have arrived, but no further than to the end of a line.
    pub(super) fn write(&mut self) -> Result<(), Malformed> {
        while !self.ends_line && self.step()? {}
        Ok(())
    }

    /// The text that has been written since the last call.
    pub(super) fn text(&mut self) -> String {
        self.ends_line = false;
        std::mem::take(&mut self.text)
    }

    /// Whether the text must be taken before more is written.
    pub(super) fn ends_line(&self) -> bool {
        self.ends_line
    }

    /// Length of the text.
    pub(super) fn written(&self) -> usize {
        self.text.len()
    }

    /// Whether every message that has begun is complete.
    pub(super) fn is_between(&self) -> bool {
        self.open.is_empty() && self.pending.is_empty()
    }

    /// Reads the next head or field, or closes a message. Returns false if more bytes must arrive.
    fn step(&mut self) -> Result<bool, Malformed> {
        match self.open.last() {
            None => Ok(self.head()),
            Some(open) if open.end == self.at => {
                self.close();
                Ok(true)
            }
            Some(open) if open.end < self.at => Err(Malformed),
            Some(open) => {
                let (message, left) = (open.message.clone(), open.end - self.at);
                self.field(&message, left)
            }
        }
    }

    /// Reads the head of a frame.
    fn head(&mut self) -> bool {
        let Some([_, length @ ..]) = self.pending.first_chunk::<HEAD_LEN>() else {
            return false;
        };
        let length = u32::from_be_bytes(*length) as usize;
        self.read(HEAD_LEN);
        if self.is_stream {
            self.text.push_str("{\"result\":");
        }
        self.enter(self.message.clone(), length);
        true
    }

    fn enter(&mut self, message: MessageDescriptor, length: usize) {
        self.text.push('{');
        self.open.push(Open { message, end: self.at + length, list: None, is_empty: true });
    }

    fn close(&mut self) {
        if self.open.pop().is_some_and(|open| open.list.is_some()) {
            self.text.push(']');
        }
        self.text.push('}');
        if self.open.is_empty() && self.is_stream {
            self.text.push_str("}\n");
            self.ends_line = true;
        }
    }

    fn read(&mut self, bytes: usize) {
        self.pending.advance(bytes);
        self.at += bytes;
    }

    /// Reads a field of the message, which has `left` more bytes.
    fn field(&mut self, message: &MessageDescriptor, left: usize) -> Result<bool, Malformed> {
        let mut rest = &self.pending[..];
        let before = rest.len();
        let Some(tag) = varint(&mut rest)? else { return Ok(false) };
        let Some(number) = varint(&mut rest)? else { return Ok(false) };
        let encoded = match tag & 7 {
            0 => Encoded::Number(number),
            2 => Encoded::Length(usize::try_from(number).map_err(|_| Malformed)?),
            _ => return Err(Malformed),
        };
        let head = before - rest.len();
        let length = if let Encoded::Length(length) = encoded { length } else { 0 };
        if length > left.saturating_sub(head) {
            return Err(Malformed);
        }
        let field = u32::try_from(tag >> 3).ok().and_then(|number| message.get_field(number));
        let kind = field.as_ref().map(FieldDescriptor::kind);
        match (field, kind, encoded) {
            (Some(field), Some(Kind::Message(nested)), Encoded::Length(length)) => {
                self.read(head);
                self.name(&field);
                self.enter(nested, length);
            }
            (field, _, Encoded::Length(length)) => {
                if rest.len() < length {
                    return Ok(false);
                }
                self.read(head);
                let value = self.pending.split_to(length);
                self.at += length;
                if let Some(field) = field {
                    self.bytes(&field, &value)?;
                }
            }
            (field, _, Encoded::Number(number)) => {
                self.read(head);
                if let Some(field) = field {
                    self.number(&field, number)?;
                }
            }
        }
        Ok(true)
    }

    /// Writes the name of a field, or the comma between the elements of a list.
    fn name(&mut self, field: &FieldDescriptor) {
        let open = self.open.last_mut().expect("a field is read only within a message");
        if field.is_list() && open.list == Some(field.number()) {
            self.text.push(',');
            return;
        }
        if open.list.take().is_some() {
            self.text.push(']');
        }
        if !std::mem::take(&mut open.is_empty) {
            self.text.push(',');
        }
        self.text.push('"');
        self.text.push_str(field.name());
        self.text.push_str("\":");
        if field.is_list() {
            self.text.push('[');
            open.list = Some(field.number());
        }
    }

    fn bytes(&mut self, field: &FieldDescriptor, value: &[u8]) -> Result<(), Malformed> {
        if value.is_empty() && is_default(field) {
            return Ok(());
        }
        self.name(field);
        match field.kind() {
            Kind::Bytes => {
                self.text.push('"');
                STANDARD.encode_string(value, &mut self.text);
                self.text.push('"');
            }
            Kind::String => {
                let text = Value::from(String::from_utf8_lossy(value));
                self.text.push_str(&text.to_string());
            }
            _ => return Err(Malformed),
        }
        Ok(())
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        reason = "the encoding of an integer is its sign-extended two's complement"
    )]
    fn number(&mut self, field: &FieldDescriptor, number: u64) -> Result<(), Malformed> {
        if number == 0 && is_default(field) {
            return Ok(());
        }
        self.name(field);
        let written = match field.kind() {
            Kind::Bool => write!(self.text, "{}", number != 0),
            Kind::Int32 => write!(self.text, "{}", number as i32),
            Kind::Uint32 => write!(self.text, "{}", number as u32),
            Kind::Int64 => write!(self.text, "\"{}\"", number as i64),
            Kind::Uint64 => write!(self.text, "\"{number}\""),
            Kind::Enum(values) => match values.get_value(number as i32) {
                Some(value) => write!(self.text, "\"{}\"", value.name()),
                None => write!(self.text, "{}", number as i32),
            },
            _ => return Err(Malformed),
        };
        written.map_err(|_| Malformed)
    }
}

/// Whether the zero value of a field means that the field is not set.
fn is_default(field: &FieldDescriptor) -> bool {
    !field.is_list() && !field.supports_presence()
}

/// Reads a number; `None` if it has not arrived.
fn varint(bytes: &mut &[u8]) -> Result<Option<u64>, Malformed> {
    let Some(last) = bytes.iter().take(VARINT_LEN_MAX).position(|byte| *byte < 0x80) else {
        return if bytes.len() < VARINT_LEN_MAX { Ok(None) } else { Err(Malformed) };
    };
    let (number, rest) = bytes.split_at(last + 1);
    *bytes = rest;
    Ok(Some(number.iter().rev().fold(0, |sum, byte| sum << 7 | u64::from(byte & 0x7f))))
}

#[cfg(test)]
mod tests {
    use prost::Message;
    use prost_reflect::{DescriptorPool, DynamicMessage, SerializeOptions};
    use quorate_proto::FILE_DESCRIPTOR_SET;
    use quorate_proto::etcdserverpb::{
        AlarmMember, AlarmResponse, AlarmType, Member, MemberListResponse, RangeResponse,
        ResponseHeader, ResponseOp, StatusResponse, TxnResponse, response_op::Response,
    };
    use quorate_proto::mvccpb::KeyValue;

    use super::*;

    fn frame<M: Message>(message: &M) -> Vec<u8> {
        let length = u32::try_from(message.encoded_len()).unwrap();
        [&[0][..], &length.to_be_bytes(), &message.encode_to_vec()].concat()
    }

    fn descriptor(name: &str) -> MessageDescriptor {
        let pool = DescriptorPool::decode(FILE_DESCRIPTOR_SET).unwrap();
        pool.get_message_by_name(&format!("etcdserverpb.{name}")).unwrap()
    }

    /// Checks that a message is written as prost-reflect writes it, wherever its bytes are split.
    fn check<M: Message>(name: &str, message: &M) {
        let descriptor = descriptor(name);
        let bytes = message.encode_to_vec();
        let decoded = DynamicMessage::decode(descriptor.clone(), &bytes[..]).unwrap();
        let options = SerializeOptions::new().use_proto_field_name(true);
        let mut wanted = serde_json::Serializer::new(Vec::new());
        decoded.serialize_with_options(&mut wanted, &options).unwrap();
        let wanted = String::from_utf8(wanted.into_inner()).unwrap();
        let bytes = frame(message);
        for piece in 1..=bytes.len() {
            let mut writer = Writer::new(descriptor.clone(), false);
            for piece in bytes.chunks(piece) {
                assert!(!writer.is_between() || writer.at == 0);
                writer.take(piece).unwrap();
            }
            assert!(writer.is_between());
            assert_eq!(writer.text(), wanted);
        }
    }

    #[test]
    fn messages_are_written_as_the_library_writes_them() {
        let header = ResponseHeader { cluster_id: u64::MAX, revision: -1, ..Default::default() };
        let key = |key: &'static str| KeyValue {
            key: key.into(),
            value: b"\xff\x00\x80"[..].into(),
            version: 1,
            ..KeyValue::default()
        };
        let range = RangeResponse {
            header: Some(header),
            kvs: vec![key("a"), KeyValue::default(), key("b")],
            more: true,
            count: 3,
        };
        check("RangeResponse", &range);
        check("RangeResponse", &RangeResponse::default());
        let empty = ResponseOp { response: Some(Response::ResponseRange(Default::default())) };
        let nested = ResponseOp { response: Some(Response::ResponseRange(range)) };
        let txn = TxnResponse { responses: vec![nested, empty], ..TxnResponse::default() };
        check("TxnResponse", &txn);
        let alarms = [AlarmType::None as i32, AlarmType::Corrupt as i32, 77];
        let alarms = alarms.map(|alarm| AlarmMember { member_id: 1, alarm });
        check("AlarmResponse", &AlarmResponse { alarms: alarms.into(), ..Default::default() });
        let member = Member {
            name: "\"\u{e9}\n".into(),
            peer_urls: vec!["a".into(), String::new()],
            is_learner: true,
            ..Member::default()
        };
        let members = MemberListResponse { members: vec![member], ..Default::default() };
        check("MemberListResponse", &members);
        let status = StatusResponse { errors: vec!["x".into()], ..StatusResponse::default() };
        check("StatusResponse", &status);
    }

    #[test]
    fn messages_of_a_stream_are_lines() {
        let range = RangeResponse { count: 1, ..RangeResponse::default() };
        let mut writer = Writer::new(descriptor("RangeResponse"), true);
        writer.take(&[frame(&range), frame(&RangeResponse::default())].concat()).unwrap();
        assert_eq!(writer.text(), "{\"result\":{\"count\":\"1\"}}\n");
        assert!(!writer.is_between());
        writer.write().unwrap();
        assert_eq!(writer.text(), "{\"result\":{}}\n");
        assert!(writer.is_between());
    }

    #[test]
    fn bad_bytes_are_refused() {
        let mut writer = Writer::new(descriptor("RangeResponse"), false);
        assert_eq!(writer.take(&[0, 0, 0, 0, 2, 0x0a, 0x05, 0x08, 1, 0, 0, 0]), Err(Malformed));
        let mut writer = Writer::new(descriptor("RangeResponse"), false);
        assert_eq!(writer.take(&[0, 0, 0, 0, 9, 0x0d, 0, 0, 0, 0]), Err(Malformed));
    }

    /// The kinds of fields that the writer does not know do not occur in answers of the API.
    #[test]
    fn answers_have_only_the_kinds_that_the_writer_knows() {
        let pool = DescriptorPool::decode(FILE_DESCRIPTOR_SET).unwrap();
        for message in pool.all_messages() {
            let name = message.full_name().to_owned();
            if name.starts_with("grpc.") || name.starts_with("quorate.") {
                continue;
            }
            for field in message.fields().filter(|_| name.ends_with("Response")) {
                assert!(!field.is_packed() && !field.is_map() && !field.is_group(), "{name}");
                assert!(!matches!(field.kind(), Kind::Double | Kind::Float), "{name}");
            }
        }
    }
}
