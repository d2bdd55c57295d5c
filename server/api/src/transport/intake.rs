//! How much more is taken from a connection whose requests wait for memory.
//!
//! What a client has sent and nobody has read is in no budget, and the windows that it was given
//! let much of it come: smaller ones would end connections with thousands of streams, because the
//! library for HTTP/2 bounds the number of small pieces by them. So nothing more is read from a
//! connection that goes on sending while its requests wait. They wait for a second at most, and
//! little is always taken: what the client acknowledges makes room for others.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;

/// Bytes that are taken while requests wait.
const TAKEN_MAX: usize = 16 << 10;

/// The way in of one connection. Cloning shares it; requests carry it as an extension.
#[derive(Clone, Debug, Default)]
pub struct Intake(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// Requests that wait for memory.
    waiting: AtomicUsize,
    /// Bytes that came since the first of them waits.
    taken: AtomicUsize,
    /// Of whoever reads from the connection.
    reader: AtomicWaker,
}

impl Intake {
    /// Ready when more may be read from the connection. One task asks.
    pub fn poll_open(&self, context: &mut Context<'_>) -> Poll<()> {
        if self.is_open() {
            return Poll::Ready(());
        }
        self.0.reader.register(context.waker());
        // It may have opened before the waker was there.
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

    /// A request waits for memory until the result is dropped.
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
        let shared = &self.0.0;
        if shared.waiting.fetch_sub(1, Ordering::SeqCst) == 1 {
            shared.reader.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::future::poll_fn;

    use super::*;

    #[tokio::test]
    async fn little_is_taken_while_requests_wait_and_the_last_one_lets_more_in() {
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
