//! Limits of the messages in the body of a call by another member: their length, the memory of
//! those in flight, and how long they take to arrive.
//!
//! ```text
//!   message   compressed u8 | length u32, big endian | bytes
//! ```

use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame};
use tokio::time::{Instant, Sleep, sleep};
use tonic::Status;

use crate::budget::{Account, Exhausted, Permit};
use crate::network::MESSAGE_BYTES_MAX;

/// Time limit for a message to arrive, and for its wait for memory.
const MESSAGE_WITHIN: Duration = Duration::from_secs(60);
/// Messages up to this size in bytes are not charged. Also the size limit of most methods.
const SMALL_BYTES_MAX: usize = 4 << 10;
/// Size limit in bytes for methods whose messages contain URLs of members.
const MEMBERS_BYTES_MAX: usize = 4 << 20;
/// Length of a message's head in bytes.
const HEAD_LEN: usize = 5;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Limits of the messages of a call.
#[derive(Clone, Copy, Debug)]
pub(super) struct MessageLimits {
    /// Size limit of a message in bytes.
    length_max: usize,
    /// Whether the call is a stream: many messages, with any time between them.
    is_stream: bool,
}

impl MessageLimits {
    /// The limits of a method; they depend on what its messages contain.
    pub(super) fn of(method: &str) -> Self {
        let (length_max, is_stream) = match method {
            "Append" | "Propose" | "SendSnapshot" => (MESSAGE_BYTES_MAX, true),
            "Heartbeat" | "ReadIndex" => (SMALL_BYTES_MAX, true),
            "FindSnapshot" | "ChangeMembers" | "ChangeMembersIf" => (MEMBERS_BYTES_MAX, false),
            _ => (SMALL_BYTES_MAX, false),
        };
        Self { length_max, is_stream }
    }
}

/// Position in the body.
#[derive(Debug, Default)]
struct Messages {
    /// An incomplete head, and how many bytes of it have arrived.
    head: [u8; HEAD_LEN],
    head_len: usize,
    /// Bytes of the current message that have not arrived.
    left: usize,
}

impl Messages {
    fn is_under_way(&self) -> bool {
        self.head_len > 0 || self.left > 0
    }

    /// Parses bytes that have arrived. Returns the length of the last message whose head ends in
    /// them.
    ///
    /// # Errors
    /// A message is longer than `length_max`.
    fn take(&mut self, mut data: &[u8], length_max: usize) -> Result<Option<usize>, Status> {
        let mut begun = None;
        while !data.is_empty() {
            let step = data.len().min(self.left);
            self.left -= step;
            let step_head = (data.len() - step).min(HEAD_LEN - self.head_len);
            let (head, rest) = data[step..].split_at(step_head);
            self.head[self.head_len..][..step_head].copy_from_slice(head);
            self.head_len += step_head;
            data = rest;
            if self.head_len == HEAD_LEN {
                let [_, length @ ..] = self.head;
                let length = u32::from_be_bytes(length) as usize;
                if length > length_max {
                    let text = format!(
                        "a message of {length} bytes exceeds this method's limit of {length_max}"
                    );
                    return Err(Status::out_of_range(text));
                }
                (self.head_len, self.left, begun) = (0, length, Some(length));
            }
        }
        Ok(begun)
    }
}

/// Data that waits for memory.
struct Deferred {
    data: Bytes,
    room: Pin<Box<dyn Future<Output = Result<Permit, Exhausted>> + Send>>,
}

/// The body of a call, within the limits of [`MessageLimits`].
///
/// A message is charged in full when it begins. So a message that holds memory never waits for more
/// memory, and no two messages wait for each other.
pub(super) struct Bounded<B> {
    inner: B,
    limits: MessageLimits,
    messages: Messages,
    account: Account,
    /// Memory of the message in flight.
    held: Option<Permit>,
    deferred: Option<Deferred>,
    /// The time by which the message must have arrived. Set once the body waits for the message.
    deadline: Option<Pin<Box<Sleep>>>,
    ended: bool,
}

impl<B> Bounded<B> {
    pub(super) fn new(inner: B, limits: MessageLimits, account: Account) -> Self {
        let messages = Messages::default();
        let held = None;
        let deferred = None;
        let deadline = None;
        Self { inner, limits, messages, account, held, deferred, deadline, ended: false }
    }

    /// Begins a message; the previous one has gone to its reader. Returns `data`, or `None` if it
    /// must wait for memory.
    fn begin(&mut self, length: usize, data: Bytes) -> Option<Bytes> {
        self.held = None;
        if self.limits.is_stream {
            self.deadline = None;
        }
        if length <= SMALL_BYTES_MAX {
            return Some(data);
        }
        self.held = self.account.try_acquire(length);
        if self.held.is_some() {
            return Some(data);
        }
        let account = self.account.clone();
        let until = Instant::now() + MESSAGE_WITHIN;
        let room = Box::pin(async move { account.acquire(length, until).await });
        self.deferred = Some(Deferred { data, room });
        None
    }

    /// Ready if a message takes too long to arrive. Between messages of a stream there is no limit.
    fn poll_deadline(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.limits.is_stream && !self.messages.is_under_way() {
            return Poll::Pending;
        }
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(sleep(MESSAGE_WITHIN)));
        deadline.as_mut().poll(context)
    }

    fn end(&mut self, status: Status) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.ended = true;
        self.held = None;
        Poll::Ready(Some(Err(status.into())))
    }
}

impl<B> Body for Bounded<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        while !self.ended {
            if let Some(deferred) = &mut self.deferred {
                let room = ready!(deferred.room.as_mut().poll(context));
                let data = self.deferred.take().map(|deferred| deferred.data).unwrap_or_default();
                match room {
                    Ok(permit) => self.held = Some(permit),
                    Err(_) => {
                        let text = "the memory for messages of members is used up";
                        return self.end(Status::resource_exhausted(text));
                    }
                }
                return Poll::Ready(Some(Ok(Frame::data(data))));
            }
            if self.limits.is_stream && !self.messages.is_under_way() {
                (self.held, self.deadline) = (None, None);
            }
            let frame = match Pin::new(&mut self.inner).poll_frame(context) {
                Poll::Ready(Some(Ok(frame))) => frame,
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(error.into()))),
                Poll::Ready(None) => {
                    self.ended = true;
                    break;
                }
                Poll::Pending => {
                    ready!(self.poll_deadline(context));
                    let text = format!("a message did not arrive within {MESSAGE_WITHIN:?}");
                    return self.end(Status::deadline_exceeded(text));
                }
            };
            let data = match frame.into_data() {
                Ok(data) => data,
                Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
            };
            let length_max = self.limits.length_max;
            let data = match self.messages.take(&data, length_max) {
                Ok(Some(length)) => self.begin(length, data),
                Ok(None) => Some(data),
                Err(status) => return self.end(status),
            };
            if let Some(data) = data {
                return Poll::Ready(Some(Ok(Frame::data(data))));
            }
        }
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }
}

#[cfg(test)]
mod tests;
