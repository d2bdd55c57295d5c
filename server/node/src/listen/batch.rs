//! Batches the answers of a connection.

use std::pin::Pin;
use std::task::{Context, Poll};

use super::traffic::Traffic;

/// Polls a connection only after the other ready tasks have run, while it has open requests.
///
/// tokio runs a task that was just woken by another task before all others. A task that answers a
/// request wakes the request's connection, which would therefore write every answer of a batch by
/// itself. Queued behind the other tasks, the connection writes all answers at once.
pub(super) struct Batched<'a, F> {
    inner: F,
    traffic: &'a Traffic,
    waited: bool,
}

impl<'a, F> Batched<'a, F> {
    pub(super) fn new(inner: F, traffic: &'a Traffic) -> Self {
        Self { inner, traffic, waited: false }
    }
}

impl<F: Future + Unpin> Future for Batched<'_, F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        self.waited = !self.waited && self.traffic.is_awaited();
        if self.waited {
            // tokio moves a task that wakes itself to the end of the queue.
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.traffic.begin_turn();
        Pin::new(&mut self.inner).poll(context)
    }
}
