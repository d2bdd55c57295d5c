//! The queue of messages of one watch stream.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;
use quorate_core::planted::{self, Mistake};
use quorate_raft::{Account, Permit};
use tokio::sync::Notify;

use super::frame::{Frame, MESSAGE_BYTES};
use crate::error::ApiError;
use crate::metrics::WatchMetrics;

/// The limits of a stream's queue.
const LIMITS: Limits = Limits {
    full: Size { bytes: 4 << 20, frames: 1024 },
    // Lower than `full`: live events are in memory once for all streams, but events from history
    // may be in memory once per stream.
    low: Size { bytes: MESSAGE_BYTES, frames: 512 },
};

/// Limits of a queue.
#[derive(Clone, Copy, Debug)]
struct Limits {
    /// From this size on, watchers fall behind.
    full: Size,
    /// Below this size, the stream's task reads history for them and takes requests.
    low: Size,
}

/// A size of a queue.
#[derive(Clone, Copy, Debug)]
struct Size {
    /// Bytes of events.
    bytes: usize,
    /// Messages.
    frames: usize,
}

/// A watcher that fell behind. The stream's task must read history for it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lagging {
    pub(crate) watch_id: i64,
    /// The first main revision that the watcher has not been sent.
    pub(crate) next: i64,
}

/// The state of an outbox.
struct Queue {
    limits: Limits,
    frames: VecDeque<Frame>,
    bytes: usize,
    /// The permit for these bytes.
    held: Permit,
    lagging: Vec<Lagging>,
    /// Whether the stream's task found no room and waits for a notification that there is room.
    wants_room: bool,
    /// The error with which the stream ends after the queued messages.
    end: Option<ApiError>,
    /// Whether the client is gone, or the stream has ended.
    gone: bool,
    /// The waker of the connection's task.
    reader: Option<Waker>,
}

impl Queue {
    fn new(limits: Limits, account: &Account) -> Self {
        Self {
            limits,
            frames: VecDeque::new(),
            bytes: 0,
            held: account.charge(0),
            lagging: Vec::new(),
            wants_room: false,
            end: None,
            gone: false,
            reader: None,
        }
    }

    fn is_below(&self, size: Size) -> bool {
        self.frames.len() < size.frames && self.bytes < size.bytes
    }

    /// Takes the next message. The flag says whether the stream's task must be notified of room.
    fn take(&mut self) -> Option<(Frame, bool)> {
        let frame = self.frames.pop_front()?;
        self.bytes -= frame.size();
        self.held.shrink_to(self.bytes);
        // Room depends on two counts. So the notification depends on whether the task waits for
        // room, not on which of the counts has just fallen below its limit.
        let notifies = self.wants_room && self.is_below(self.limits.low);
        self.wants_room &= !notifies;
        Some((frame, notifies && !planted::has(Mistake::LoseWakeUp)))
    }

    /// Whether there is room for these messages. If so, their bytes are charged. The budget always
    /// has room for a connection that holds little: however many clients do not read, a client that
    /// reads receives all events.
    fn finds_room(&mut self, frames: &[Frame]) -> bool {
        let bytes = frames.iter().map(Frame::size).sum();
        self.is_below(self.limits.full) && self.held.try_grow(bytes)
    }

    fn put(&mut self, frame: Frame) {
        let more = self.held.account().charge(frame.size());
        self.held.join(more);
        self.put_held(frame);
    }

    /// Queues a message whose bytes are charged already.
    fn put_held(&mut self, frame: Frame) {
        self.bytes += frame.size();
        self.frames.push_back(frame);
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }
}

/// The queue between the hub and the stream's task, which add messages, and the connection, which
/// sends them. Clones share it.
#[derive(Clone)]
pub(crate) struct Outbox {
    queue: Arc<Mutex<Queue>>,
    metrics: WatchMetrics,
    /// Notified when the stream's task may have something to do.
    changed: Arc<Notify>,
}

impl Outbox {
    /// An empty queue, whose bytes are charged to the account. Its events count as pending while
    /// they are in the queue, and then as sent.
    pub(crate) fn new(metrics: WatchMetrics, account: &Account) -> Self {
        Self::with_limits(metrics, account, LIMITS)
    }

    fn with_limits(metrics: WatchMetrics, account: &Account, limits: Limits) -> Self {
        let queue = Arc::new(Mutex::new(Queue::new(limits, account)));
        Self { queue, metrics, changed: Arc::default() }
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

    /// Queues events and returns true. If the queue is full, notes that the watcher lags behind
    /// from main revision `from` on, and returns false.
    pub(crate) fn offer(&self, frames: Vec<Frame>, watch_id: i64, from: i64) -> bool {
        let mut queue = self.queue.lock();
        if queue.gone {
            return true;
        }
        if !queue.finds_room(&frames) {
            drop(queue);
            self.fall_behind(watch_id, from);
            return false;
        }
        for frame in frames {
            self.pending(&frame);
            queue.put_held(frame);
        }
        true
    }

    /// Notes that a watcher lags behind from main revision `next` on.
    pub(crate) fn fall_behind(&self, watch_id: i64, next: i64) {
        self.queue.lock().lagging.push(Lagging { watch_id, next });
        self.changed.notify_one();
    }

    /// Queues a message even if the queue is full.
    pub(crate) fn push(&self, frame: Frame) {
        let mut queue = self.queue.lock();
        if !queue.gone {
            self.pending(&frame);
            queue.put(frame);
        }
    }

    /// Queues messages even if the queue is full. `room` is a permit for their bytes; bytes beyond
    /// it are charged in addition.
    pub(crate) fn push_held(&self, frames: Vec<Frame>, mut room: Permit) {
        let mut queue = self.queue.lock();
        if queue.gone {
            return;
        }
        let bytes: usize = frames.iter().map(Frame::size).sum();
        room.shrink_to(bytes);
        let beyond = queue.held.account().charge(bytes - room.bytes());
        queue.held.join(room);
        queue.held.join(beyond);
        for frame in frames {
            self.pending(&frame);
            queue.put_held(frame);
        }
    }

    /// The account that the bytes are charged to.
    pub(crate) fn account(&self) -> Account {
        self.queue.lock().held.account().clone()
    }

    /// Whether the stream's task may queue events from history and answers to requests. If not,
    /// [`changed`](Self::changed) returns as soon as it may.
    pub(crate) fn has_room(&self) -> bool {
        let mut queue = self.queue.lock();
        queue.wants_room = !queue.is_below(queue.limits.low);
        !queue.wants_room
    }

    /// Takes the watchers that fell behind.
    pub(crate) fn take_lagging(&self) -> Vec<Lagging> {
        std::mem::take(&mut self.queue.lock().lagging)
    }

    /// Ends the stream after the queued messages.
    pub(crate) fn close(&self, error: ApiError) {
        let mut queue = self.queue.lock();
        queue.end.get_or_insert(error);
        if let Some(reader) = queue.reader.take() {
            reader.wake();
        }
    }

    /// Whether the client is gone, or the stream has ended.
    pub(crate) fn is_gone(&self) -> bool {
        self.queue.lock().gone
    }

    /// Waits until the stream's task must look at the queue again.
    ///
    /// # Cancel safety
    /// No notification is lost when the future is dropped.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }
}

/// The connection's end of an outbox. Dropping it marks the client as gone.
pub(crate) struct Reader(pub(crate) Outbox);

impl futures_util::Stream for Reader {
    type Item = Result<Frame, ApiError>;

    fn poll_next(
        self: std::pin::Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Self::Item>> {
        let mut queue = self.0.queue.lock();
        if let Some((frame, notifies)) = queue.take() {
            drop(queue);
            self.0.sent(&frame);
            if notifies {
                self.0.changed.notify_one();
            }
            return Poll::Ready(Some(Ok(frame)));
        }
        if queue.gone {
            return Poll::Ready(None);
        }
        if let Some(error) = queue.end.take() {
            queue.gone = true;
            drop(queue);
            self.0.changed.notify_one();
            return Poll::Ready(Some(Err(error)));
        }
        queue.reader = Some(context.waker().clone());
        Poll::Pending
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut queue = self.0.queue.lock();
        queue.gone = true;
        for frame in queue.frames.drain(..) {
            self.0.sent(&frame);
        }
        queue.bytes = 0;
        queue.held.shrink_to(0);
        drop(queue);
        self.0.changed.notify_one();
    }
}

#[cfg(test)]
mod tests;
