//! Encodes the messages of watch streams. Their events are encoded already and are only copied.

use bytes::BufMut as _;
use prost::Message as _;
use tonic::Status;
use tonic::codec::EncodeBuf;

use super::Encode;
use crate::watch::frame::Frame;

impl Encode for Frame {
    fn encode_to(self, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        let events = match self {
            Self::Control(response) => return (*response).encode_to(out),
            Self::Events(events) => events,
        };
        let head = events.head();
        out.reserve(head.encoded_len() + events.size());
        head.encode_raw(out);
        for encoded in events.encoded() {
            out.put_slice(encoded);
        }
        Ok(())
    }
}
