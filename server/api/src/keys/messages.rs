//! The messages of a gRPC answer.

use bytes::{Buf as _, Bytes, BytesMut};
use http_body_util::BodyExt as _;
use quorate_raft::{Account, Permit};
use tonic::{Code, Status};

use crate::transport::answer::ResponseBody;
use crate::transport::framing::HEAD_LEN;

/// Reads the messages of an answer. The bytes of a message are charged until it is returned.
pub(super) struct Messages {
    call: ResponseBody,
    pending: BytesMut,
    held: Permit,
    /// The outcome of the call, once the headers or the trailers had it.
    outcome: Option<Status>,
}

impl Messages {
    pub(super) fn new(call: ResponseBody, outcome: Option<Status>, account: &Account) -> Self {
        Self { call, pending: BytesMut::new(), held: account.nothing(), outcome }
    }

    /// The next message; `None` at the end of a call that has succeeded.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Status> {
        loop {
            if let Some([_, length @ ..]) = self.pending.first_chunk::<HEAD_LEN>() {
                let length = u32::from_be_bytes(*length) as usize;
                if self.pending.len() >= HEAD_LEN + length {
                    self.pending.advance(HEAD_LEN);
                    let message = self.pending.split_to(length).freeze();
                    self.held.shrink_to(self.pending.len());
                    return Ok(Some(message));
                }
            }
            if let Some(outcome) = self.outcome.take() {
                return if outcome.code() == Code::Ok { Ok(None) } else { Err(outcome) };
            }
            match self.call.frame().await {
                None => return Err(Status::unknown("the answer ended too early")),
                Some(Err(reset)) => return Err(reset),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => {
                        self.pending.extend_from_slice(&data);
                        let more = self.held.account().charge(data.len());
                        self.held.join(more);
                    }
                    Err(frame) => {
                        self.outcome = frame.trailers_ref().and_then(Status::from_header_map);
                    }
                },
            }
        }
    }
}
