//! Limits how much is read from a connection whose client takes no answers.
//!
//! Each request makes an answer, and the HTTP/2 library queues answers without a limit until the
//! socket takes them. Most are charged to the memory budget, but not those that are only headers,
//! such as errors. So while the socket takes no more bytes, little is read: as much as was written
//! since, and [`READ_MAX`] bytes in addition. etcd's library stops reading after 50 queued answers.

use std::task::{Context, Poll, Waker};

/// Bytes that may be read beyond the bytes written, while the socket is full.
const READ_MAX: usize = 4 << 10;

/// The bytes that were read from a connection while its socket was full.
#[derive(Debug, Default)]
pub(super) struct Unsent {
    is_full: bool,
    /// Bytes read since the socket was full, less the bytes written since.
    read: usize,
    /// The task that waits to read.
    reader: Option<Waker>,
}

impl Unsent {
    /// Ready when more may be read.
    pub(super) fn poll_read(&mut self, context: &Context<'_>) -> Poll<()> {
        if self.is_full && self.read >= READ_MAX {
            self.reader = Some(context.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(())
    }

    /// Notes that bytes were read.
    pub(super) fn read(&mut self, bytes: usize) {
        if self.is_full {
            self.read += bytes;
        }
    }

    /// Notes that bytes were written, or that the socket is full.
    pub(super) fn wrote(&mut self, written: Poll<usize>) {
        match written {
            Poll::Pending => self.is_full = true,
            Poll::Ready(bytes) => {
                self.read = self.read.saturating_sub(bytes);
                self.wake();
            }
        }
    }

    /// Notes that all bytes were written, or that the socket is full.
    pub(super) fn flushed(&mut self, flushed: Poll<()>) {
        self.is_full = flushed.is_pending();
        if !self.is_full {
            self.read = 0;
            self.wake();
        }
    }

    fn wake(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn a_full_socket_stops_reading_until_it_takes_bytes() {
        let count = Arc::new(Count::default());
        let waker = Waker::from(count.clone());
        let context = Context::from_waker(&waker);
        let mut unsent = Unsent::default();
        unsent.read(10 * READ_MAX);
        assert!(unsent.poll_read(&context).is_ready(), "the socket takes all bytes");
        unsent.wrote(Poll::Pending);
        unsent.read(READ_MAX);
        assert!(unsent.poll_read(&context).is_pending());
        unsent.wrote(Poll::Ready(100));
        assert_eq!(count.0.load(Ordering::SeqCst), 1);
        assert!(unsent.poll_read(&context).is_ready(), "100 bytes may follow");
        unsent.read(100);
        assert!(unsent.poll_read(&context).is_pending());
        unsent.flushed(Poll::Pending);
        assert!(unsent.poll_read(&context).is_pending());
        unsent.flushed(Poll::Ready(()));
        assert_eq!(count.0.load(Ordering::SeqCst), 2);
        assert!(unsent.poll_read(&context).is_ready());
    }
}
