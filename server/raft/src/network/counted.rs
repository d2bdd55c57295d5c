//! Connections that count their bytes.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::oneshot;

use super::reverse_pool::TakenConnection;
use crate::ground::connection::Connection;
use crate::ground::consensus::BoxFuture;
use crate::ground::float::float;
use crate::metrics::peers::ConnectionMetrics;

/// A connection to another member. Counts its bytes, and is counted as open until it is dropped.
pub(crate) struct Counted {
    inner: Box<dyn Connection>,
    metrics: Arc<ConnectionMetrics>,
    reverse: Option<Reverse>,
}

/// State of a reverse connection.
struct Reverse {
    /// Dropped with the connection; `ReversePool::hold` waits for that.
    _held: oneshot::Sender<()>,
    /// The connection ends when this completes; `None` afterwards.
    until: Option<BoxFuture<'static, ()>>,
}

impl Reverse {
    fn is_over(&mut self, context: &mut Context<'_>) -> bool {
        if let Some(until) = &mut self.until
            && until.as_mut().poll(context).is_ready()
        {
            self.until = None;
        }
        self.until.is_none()
    }
}

impl Counted {
    /// Counts a new connection.
    pub(crate) fn new(inner: Box<dyn Connection>, metrics: Arc<ConnectionMetrics>) -> Self {
        metrics.opened();
        Self { inner, metrics, reverse: None }
    }

    /// Counts a reverse connection. It ends when `until` completes.
    pub(crate) fn reverse(
        taken: TakenConnection,
        until: BoxFuture<'static, ()>,
        metrics: Arc<ConnectionMetrics>,
    ) -> Self {
        let mut counted = Self::new(taken.connection, metrics);
        counted.reverse = Some(Reverse { _held: taken.held, until: Some(until) });
        counted
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.metrics.closed();
    }
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.reverse.as_mut().is_some_and(|reverse| reverse.is_over(context)) {
            // Reads as if the other member had closed the connection.
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.inner).poll_read(context, buffer);
        self.metrics.received_bytes.inc_by(float((buffer.filled().len() - before) as u64));
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
            self.metrics.sent_bytes.inc_by(float(*length as u64));
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
            self.metrics.sent_bytes.inc_by(float(*length as u64));
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
