//! Limits how much is read from a connection while its requests wait for memory.
//!
//! The budget does not count bytes that a client has sent and no request has read, and the HTTP/2
//! windows admit many of them. Smaller windows would end connections with thousands of streams,
//! because the HTTP/2 library derives its limit of small DATA frames from the window. So only a few
//! bytes are read from a connection while its requests wait, which they do for at most a second.
//! These few are read because the client's acknowledgements free memory for others.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;

/// Once this many bytes have been read while requests wait, no more are read until none waits.
const TAKEN_MAX: usize = 16 << 10;

/// The read limit of one connection. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Intake(Arc<Demand>);

#[derive(Debug, Default)]
struct Demand {
    /// Requests that wait for memory.
    waiting: AtomicUsize,
    /// Bytes read since the first of these requests began to wait.
    taken: AtomicUsize,
    /// The task that reads from the connection.
    reader: AtomicWaker,
}

impl Intake {
    /// Ready when more may be read from the connection. Only one task may poll this.
    pub fn poll_open(&self, context: &mut Context<'_>) -> Poll<()> {
        if self.is_open() {
            return Poll::Ready(());
        }
        self.0.reader.register(context.waker());
        // Checked again, because the intake may have opened before the waker was registered.
        if self.is_open() { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Notes bytes that were read from the connection.
    pub fn count(&self, bytes: usize) {
        if self.0.waiting.load(Ordering::SeqCst) > 0 {
            self.0.taken.fetch_add(bytes, Ordering::SeqCst);
        }
    }

    fn is_open(&self) -> bool {
        self.0.waiting.load(Ordering::SeqCst) == 0
            || self.0.taken.load(Ordering::SeqCst) < TAKEN_MAX
    }

    /// Notes that a request waits for memory until the result is dropped.
    pub(crate) fn wait(&self) -> Waits {
        if self.0.waiting.fetch_add(1, Ordering::SeqCst) == 0 {
            self.0.taken.store(0, Ordering::SeqCst);
        }
        Waits(self.clone())
    }
}

/// A request that waits for memory.
pub(crate) struct Waits(Intake);

impl Drop for Waits {
    fn drop(&mut self) {
        let demand = &self.0.0;
        if demand.waiting.fetch_sub(1, Ordering::SeqCst) == 1 {
            demand.reader.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::future::poll_fn;

    use super::*;

    #[tokio::test]
    async fn reading_stops_at_the_limit_until_no_request_waits() {
        let intake = Intake::default();
        intake.count(2 * TAKEN_MAX);
        let first = intake.wait();
        intake.count(TAKEN_MAX - 1);
        poll_fn(|context| intake.poll_open(context)).await;
        let second = intake.wait();
        intake.count(1);
        let mut open = pin!(poll_fn(|context| intake.poll_open(context)));
        assert!(futures_util::poll!(open.as_mut()).is_pending());
        drop(first);
        assert!(futures_util::poll!(open.as_mut()).is_pending());
        tokio::join!(open, async { drop(second) });
        drop(intake.wait());
        assert!(intake.is_open());
    }
}
