//! Connections whose bytes are counted.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Connection;
use super::metrics::LinkMetrics;

/// A connection to another member, counted as long as it lasts.
pub(crate) struct Counted {
    inner: Box<dyn Connection>,
    metrics: Arc<LinkMetrics>,
}

impl Counted {
    /// Counts a connection that was just made.
    pub(crate) fn new(inner: Box<dyn Connection>, metrics: Arc<LinkMetrics>) -> Self {
        metrics.opened();
        Self { inner, metrics }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.metrics.closed();
    }
}

/// A number of bytes as a counter takes it.
#[expect(clippy::cast_precision_loss, reason = "counters are floating-point numbers")]
pub(crate) fn float(bytes: usize) -> f64 {
    bytes as f64
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.inner).poll_read(context, buffer);
        self.metrics.received_bytes.inc_by(float(buffer.filled().len() - before));
        read
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(context, bytes);
        if let Poll::Ready(Ok(length)) = &written {
            self.metrics.sent_bytes.inc_by(float(*length));
        }
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write_vectored(context, parts);
        if let Poll::Ready(Ok(length)) = &written {
            self.metrics.sent_bytes.inc_by(float(*length));
        }
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}
