//! Encoding of events in a watch response.

use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint};
use quorate_proto::mvccpb::Event;
use quorate_proto::mvccpb::event::EventType;

use crate::Record;

/// Number of the field `events` in `etcdserverpb.WatchResponse`.
const EVENTS_FIELD: u32 = 11;

/// The event for the write of `record`. `previous` is the key's previous version, if the watcher
/// asked for it and there is one.
pub fn event_of(record: &Record, previous: Option<&Record>) -> Event {
    let kind = if record.is_tombstone() { EventType::Delete } else { EventType::Put };
    Event {
        r#type: kind as i32,
        kv: Some(record.to_key_value()),
        prev_kv: previous.map(Record::to_key_value),
    }
}

/// Appends an event to `buffer` as a watch response encodes it: field key, length, message. Such
/// events, concatenated, are a valid end of an encoded response.
pub fn append_event(record: &Record, previous: Option<&Record>, buffer: &mut Vec<u8>) {
    let event = event_of(record, previous);
    let length = event.encoded_len();
    buffer.reserve(1 + encoded_len_varint(length as u64) + length);
    encode_key(EVENTS_FIELD, WireType::LengthDelimited, buffer);
    encode_varint(length as u64, buffer);
    event.encode_raw(buffer);
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use quorate_proto::etcdserverpb::WatchResponse;

    use super::*;
    use crate::Revision;

    #[test]
    fn appended_events_are_the_tail_of_a_response() {
        let put = Record {
            key: Bytes::from_static(b"k"),
            value: Bytes::from_static(b"v"),
            revision: Revision::new(5, 1),
            create_revision: 5,
            version: 1,
            lease: 3,
            previous: Revision::NONE,
        };
        let delete = Record {
            revision: Revision::new(6, 0),
            value: Bytes::new(),
            create_revision: 0,
            version: 0,
            lease: 0,
            previous: put.revision,
            ..put.clone()
        };
        let mut bytes = WatchResponse { watch_id: 9, ..Default::default() }.encode_to_vec();
        append_event(&put, None, &mut bytes);
        append_event(&delete, Some(&put), &mut bytes);
        let response = WatchResponse::decode(bytes.as_slice()).unwrap();
        assert_eq!(response.watch_id, 9);
        assert_eq!(response.events, [event_of(&put, None), event_of(&delete, Some(&put))]);
        assert_eq!(response.events[1].kv.as_ref().unwrap().mod_revision, 6);
    }
}
