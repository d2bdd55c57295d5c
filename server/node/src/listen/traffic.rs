//! Counts the requests and answers in flight on one connection, so that a stopping program knows
//! which answers it still owes to the client.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::Either;
use hyper::body::{Body, Frame, SizeHint};

/// The counters of a connection.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    /// Requests without an answer.
    open: AtomicUsize,
    /// Requests without an answer that have been received completely.
    owed: AtomicUsize,
    /// Answers whose bodies have not ended.
    answering: AtomicUsize,
    /// Bytes in both directions.
    moved: AtomicUsize,
    /// Bytes read since the connection was polled last.
    turn: AtomicUsize,
}

impl Traffic {
    /// Whether a request waits for its answer.
    pub(super) fn is_awaited(&self) -> bool {
        self.open.load(Ordering::Relaxed) > 0
    }

    /// Whether a complete request waits for its answer.
    pub(super) fn owes(&self) -> bool {
        self.owed.load(Ordering::Relaxed) > 0
    }

    /// Whether an answer is being sent.
    pub(super) fn is_answering(&self) -> bool {
        self.answering.load(Ordering::Relaxed) > 0
    }

    /// Bytes in both directions so far.
    pub(super) fn moved(&self) -> usize {
        self.moved.load(Ordering::Relaxed)
    }

    /// Notes that the connection is polled.
    pub(super) fn begin_turn(&self) {
        self.turn.store(0, Ordering::Relaxed);
    }

    /// Adds `bytes` to those that were read in this turn; returns the sum.
    pub(super) fn read_in_turn(&self, bytes: usize) -> usize {
        self.turn.fetch_add(bytes, Ordering::Relaxed) + bytes
    }

    /// Adds bytes that were read or written.
    pub(super) fn count(&self, bytes: usize) {
        self.moved.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// An answer that is under way until this is dropped.
pub(super) struct Answering(Arc<Traffic>);

impl Answering {
    pub(super) fn new(traffic: Arc<Traffic>) -> Self {
        traffic.answering.fetch_add(1, Ordering::Relaxed);
        Self(traffic)
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.answering.fetch_sub(1, Ordering::Relaxed);
    }
}

const COMING: u8 = 0;
const WHOLE: u8 = 1;
const ANSWERED: u8 = 2;

/// The state of one request on its way to an answer.
#[derive(Debug)]
pub(super) struct Asked {
    traffic: Arc<Traffic>,
    stage: AtomicU8,
}

impl Asked {
    pub(super) fn new(traffic: &Arc<Traffic>) -> Arc<Self> {
        traffic.open.fetch_add(1, Ordering::Relaxed);
        Arc::new(Self { traffic: traffic.clone(), stage: AtomicU8::new(COMING) })
    }

    /// Notes that the request is complete, or that the rest of it is not needed.
    fn is_whole(&self) {
        let stage = &self.stage;
        if stage.compare_exchange(COMING, WHOLE, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            self.traffic.owed.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Notes that the request has its answer, or will never have one.
    fn is_answered(&self) {
        let before = self.stage.swap(ANSWERED, Ordering::Relaxed);
        if before == WHOLE {
            self.traffic.owed.fetch_sub(1, Ordering::Relaxed);
        }
        if before != ANSWERED {
            self.traffic.open.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// Held until a request has its answer. A drop without an answer means that there will be none.
pub(super) struct Unanswered(Arc<Asked>);

impl Unanswered {
    pub(super) fn new(asked: Arc<Asked>) -> Self {
        Self(asked)
    }

    /// Wraps the body of the answer, which counts as under way until it is dropped.
    pub(super) fn answer<A, B>(self, body: Either<A, B>) -> Answer<A, B> {
        Answer { body, _answering: Answering::new(self.0.traffic.clone()) }
    }
}

impl Drop for Unanswered {
    fn drop(&mut self) {
        self.0.is_answered();
    }
}

/// The body of a request.
pub(super) struct Received<B> {
    body: B,
    asked: Arc<Asked>,
}

impl<B: Body> Received<B> {
    pub(super) fn new(body: B, asked: Arc<Asked>) -> Self {
        if body.is_end_stream() {
            asked.is_whole();
        }
        Self { body, asked }
    }
}

impl<B: Body + Unpin> Body for Received<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(context));
        if frame.is_none() || self.body.is_end_stream() {
            self.asked.is_whole();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<B> Drop for Received<B> {
    fn drop(&mut self) {
        // A handler that drops the body unread does not need the rest of the request.
        self.asked.is_whole();
    }
}

/// The body of an answer.
pub(super) struct Answer<A, B> {
    body: Either<A, B>,
    _answering: Answering,
}

impl<A, B> Body for Answer<A, B>
where
    A: Body<Data = Bytes> + Unpin,
    B: Body<Data = Bytes> + Unpin,
    A::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
