//! Waiting for a callback that another thread calls.

use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::sync::oneshot;

/// The other side was dropped without a result: it has stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the member is stopping")]
pub(crate) struct Stopped;

/// A result that another thread will report. It fails with [`Stopped`] if the [`Completer`] is
/// dropped first.
///
/// # Cancel safety
/// Dropping it drops the result. The work continues.
#[must_use]
pub(crate) struct Completion<T>(oneshot::Receiver<T>);

/// Reports the result of a [`Completion`].
pub(crate) struct Completer<T>(oneshot::Sender<T>);

/// The two sides of a completion.
pub(crate) fn completion<T>() -> (Completer<T>, Completion<T>) {
    let (sender, receiver) = oneshot::channel();
    (Completer(sender), Completion(receiver))
}

impl<T> Completer<T> {
    /// Reports the result. It is no error if the waiting task is gone.
    pub(crate) fn complete(self, result: T) {
        self.0.send(result).ok();
    }
}

impl<T: Send + 'static> Completer<T> {
    /// This side as a callback.
    pub(crate) fn callback(self) -> Box<dyn FnOnce(T) + Send> {
        Box::new(move |result| self.complete(result))
    }
}

impl<T> Future for Completion<T> {
    type Output = Result<T, Stopped>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context).map(|result| result.map_err(|_| Stopped))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_completion_ends_with_the_result_or_with_the_other_side() {
        let (completer, done) = completion();
        std::thread::spawn(move || completer.callback()(7));
        assert_eq!(done.await, Ok(7));
        let (completer, done) = completion::<u8>();
        drop(completer.callback());
        assert_eq!(done.await, Err(Stopped));
        let (completer, done) = completion();
        drop(done);
        completer.complete(7);
    }
}
