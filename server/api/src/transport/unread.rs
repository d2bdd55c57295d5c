//! The part of a request's body that no code has read when the request is refused.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use parking_lot::Mutex;

/// Most bytes to read of a refused request.
const DRAIN_MAX: usize = 4 << 20;
/// Longest time to read the rest of a refused request.
const DRAIN_WITHIN: Duration = Duration::from_secs(1);

/// A body that can be read on after the code that owned it has dropped it.
pub(crate) struct Unread<B>(Arc<Mutex<B>>);

impl<B> Clone for Unread<B> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<B: Body<Data = Bytes> + Unpin> Unread<B> {
    pub(crate) fn new(body: B) -> Self {
        Self(Arc::new(Mutex::new(body)))
    }

    /// Reads and drops the rest of the body. Stops at the frame that exceeds [`DRAIN_MAX`] bytes,
    /// or after [`DRAIN_WITHIN`].
    ///
    /// HTTP/2 permits a server to answer before it has the whole body. But curl 7 then shows an
    /// error of the framing instead of the answer if it is still sending.
    pub(crate) async fn drain(mut self) {
        let mut left = DRAIN_MAX;
        let drained = async {
            while let Some(Ok(frame)) = poll_fn(|context| self.poll(context)).await {
                let Some(rest) = left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) else {
                    break;
                };
                left = rest;
            }
        };
        // A client that sends too slowly gets the answer anyway.
        tokio::time::timeout(DRAIN_WITHIN, drained).await.ok();
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        Pin::new(self).poll_frame(context)
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Unread<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        Pin::new(&mut *self.0.lock()).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.0.lock().is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.lock().size_hint()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    const PIECE: usize = 1 << 20;

    fn body(pieces: usize) -> impl Body<Data = Bytes, Error = std::convert::Infallible> + Unpin {
        let piece = || Ok(Frame::data(Bytes::from(vec![0; PIECE])));
        http_body_util::StreamBody::new(tokio_stream::iter((0..pieces).map(move |_| piece())))
    }

    async fn left_of(pieces: usize) -> usize {
        let unread = Unread::new(body(pieces));
        unread.clone().drain().await;
        unread.collect().await.unwrap().to_bytes().len()
    }

    #[tokio::test]
    async fn a_bounded_part_is_drained() {
        assert_eq!(left_of(0).await, 0);
        assert_eq!(left_of(3).await, 0);
        let read = DRAIN_MAX + PIECE;
        assert_eq!(left_of(20).await, 20 * PIECE - read);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_sends_nothing_is_not_awaited_for_long() {
        let silent = tokio_stream::pending::<Result<Frame<Bytes>, std::convert::Infallible>>();
        Unread::new(http_body_util::StreamBody::new(silent)).drain().await;
    }
}
