//! What waits to be sent on one stream.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;
use quorate_core::planted::{self, Mistake};
use tokio::sync::Notify;
use tonic::Status;

use super::frame::Frame;
use crate::metrics::WatchMetrics;

/// What waits for a stream at most.
const LIMITS: Limits = Limits { bytes: 4 << 20, frames: 1024 };
/// A stream whose watchers fell behind is fed again when this part of its room is free.
const ROOM_PART: usize = 2;

/// How much may wait for a stream. Above, its watchers fall behind.
#[derive(Clone, Copy, Debug)]
struct Limits {
    /// Bytes of events.
    bytes: usize,
    /// Messages.
    frames: usize,
}

/// A watcher that fell behind: the stream's task reads history for it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lagging {
    pub(crate) watch_id: i64,
    /// The first main revision that it has not been sent.
    pub(crate) next: i64,
}

struct Inner {
    limits: Limits,
    frames: VecDeque<Frame>,
    bytes: usize,
    lagging: Vec<Lagging>,
    /// The stream's task found no room: it waits to hear that there is some.
    wants_room: bool,
    end: Option<Status>,
    gone: bool,
    reader: Option<Waker>,
}

impl Inner {
    fn new(limits: Limits) -> Self {
        Self {
            limits,
            frames: VecDeque::new(),
            bytes: 0,
            lagging: Vec::new(),
            wants_room: false,
            end: None,
            gone: false,
            reader: None,
        }
    }

    fn has_room(&self, part: usize) -> bool {
        self.frames.len() < self.limits.frames / part && self.bytes < self.limits.bytes / part
    }

    /// Takes out the next message. True beside it: the stream's task must hear that there is room.
    fn take(&mut self) -> Option<(Frame, bool)> {
        let frame = self.frames.pop_front()?;
        self.bytes -= frame.size();
        // Room is a matter of several counts, so that what counts is who waits for it, and not
        // which of them has just changed.
        let is_heard = self.wants_room && self.has_room(ROOM_PART);
        self.wants_room &= !is_heard;
        Some((frame, is_heard && !planted::has(Mistake::LoseWakeUp)))
    }

    fn put(&mut self, frame: Frame) {
        self.bytes += frame.size();
        self.frames.push_back(frame);
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }
}

/// The queue between those who have messages for a stream and the connection that sends them.
/// Clones share it.
#[derive(Clone)]
pub(crate) struct Outbox {
    inner: Arc<Mutex<Inner>>,
    metrics: WatchMetrics,
    /// Signalled when the stream's task may have something to do.
    changed: Arc<Notify>,
}

impl Outbox {
    /// An empty queue. Events count as pending while they are in it, and as sent from then on.
    pub(crate) fn new(metrics: WatchMetrics) -> Self {
        Self::with_limits(metrics, LIMITS)
    }

    fn with_limits(metrics: WatchMetrics, limits: Limits) -> Self {
        let inner = Arc::new(Mutex::new(Inner::new(limits)));
        Self { inner, metrics, changed: Arc::default() }
    }

    fn pending(&self, frame: &Frame) {
        if frame.events() > 0 {
            self.metrics.pending.add(i64::try_from(frame.events()).unwrap_or(0));
        }
    }

    fn sent(&self, frame: &Frame) {
        if frame.events() > 0 {
            self.metrics.pending.sub(i64::try_from(frame.events()).unwrap_or(0));
            self.metrics.events.inc_by(frame.events() as u64);
        }
    }

    /// Queues events unless the queue is full; then the watcher is noted as lagging behind from
    /// main revision `from` on, and false is returned.
    pub(crate) fn offer(&self, frames: Vec<Frame>, watch_id: i64, from: i64) -> bool {
        let mut inner = self.inner.lock();
        if inner.gone {
            return true;
        }
        if !inner.has_room(1) {
            drop(inner);
            self.fall_behind(watch_id, from);
            return false;
        }
        for frame in frames {
            self.pending(&frame);
            inner.put(frame);
        }
        true
    }

    /// Notes that a watcher lags behind from main revision `next` on.
    pub(crate) fn fall_behind(&self, watch_id: i64, next: i64) {
        self.inner.lock().lagging.push(Lagging { watch_id, next });
        self.changed.notify_one();
    }

    /// Queues a message whatever waits already.
    pub(crate) fn push(&self, frame: Frame) {
        let mut inner = self.inner.lock();
        if !inner.gone {
            self.pending(&frame);
            inner.put(frame);
        }
    }

    /// Whether there is room for what the stream's task reads from history or answers to requests.
    /// When there is none, [`changed`](Self::changed) tells as soon as there is.
    pub(crate) fn has_room(&self) -> bool {
        let mut inner = self.inner.lock();
        inner.wants_room = !inner.has_room(ROOM_PART);
        !inner.wants_room
    }

    /// Takes out the watchers that fell behind.
    pub(crate) fn take_lagging(&self) -> Vec<Lagging> {
        std::mem::take(&mut self.inner.lock().lagging)
    }

    /// Ends the stream behind what is queued.
    pub(crate) fn close(&self, status: Status) {
        let mut inner = self.inner.lock();
        inner.end.get_or_insert(status);
        if let Some(reader) = inner.reader.take() {
            reader.wake();
        }
    }

    /// Whether the client is gone.
    pub(crate) fn is_gone(&self) -> bool {
        self.inner.lock().gone
    }

    /// Waits until something about the queue changes that the stream's task must look at.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }
}

/// The connection's end of an outbox. Dropping it tells the others that the client is gone.
pub(crate) struct Reader(pub(crate) Outbox);

impl futures_util::Stream for Reader {
    type Item = Result<Frame, Status>;

    fn poll_next(
        self: std::pin::Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Self::Item>> {
        let mut inner = self.0.inner.lock();
        if let Some((frame, is_heard)) = inner.take() {
            drop(inner);
            self.0.sent(&frame);
            if is_heard {
                self.0.changed.notify_one();
            }
            return Poll::Ready(Some(Ok(frame)));
        }
        if inner.gone {
            return Poll::Ready(None);
        }
        if let Some(status) = inner.end.take() {
            inner.gone = true;
            drop(inner);
            self.0.changed.notify_one();
            return Poll::Ready(Some(Err(status)));
        }
        inner.reader = Some(context.waker().clone());
        Poll::Pending
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut inner = self.0.inner.lock();
        inner.gone = true;
        for frame in inner.frames.drain(..) {
            self.0.sent(&frame);
        }
        inner.bytes = 0;
        drop(inner);
        self.0.changed.notify_one();
    }
}

#[cfg(test)]
mod tests;
