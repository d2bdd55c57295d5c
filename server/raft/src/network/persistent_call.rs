//! Streaming calls that stay open: requests and replies alternate on them.

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Response, Status, Streaming};

/// A streaming call. The first request opens it, and the next request after a failure opens it
/// again. So a request costs one message each way, a fraction of a unary call.
pub(crate) struct PersistentCall<Q, A>(Option<Call<Q, A>>);

struct Call<Q, A> {
    requests: mpsc::Sender<Q>,
    replies: Streaming<A>,
}

impl<Q, A> Call<Q, A> {
    async fn ask(&mut self, request: Q) -> Result<A, Status> {
        // If the call has ended, the replies say why.
        self.requests.try_send(request).ok();
        self.reply().await
    }

    async fn reply(&mut self) -> Result<A, Status> {
        let reply = self.replies.message().await?;
        reply.ok_or_else(|| Status::unavailable("the other member ended the call"))
    }
}

impl<Q: Clone, A> PersistentCall<Q, A> {
    /// A call that is not open yet.
    pub(crate) const fn new() -> Self {
        Self(None)
    }

    /// Sends a request and awaits the reply. Calls `open` if there is no open call. If a call that
    /// was already open fails, the request is sent once more over a new one: the connection may
    /// have ended long ago.
    ///
    /// # Cancel safety
    /// Dropping the future closes the call, so no reply is taken for the reply to another request.
    pub(crate) async fn ask(
        &mut self,
        open: impl AsyncFnOnce(ReceiverStream<Q>) -> Result<Response<Streaming<A>>, Status>,
        request: Q,
    ) -> Result<A, Status> {
        if let Some(mut call) = self.0.take()
            && let Ok(reply) = call.ask(request.clone()).await
        {
            self.0 = Some(call);
            return Ok(reply);
        }
        let (requests, receiver) = mpsc::channel(1);
        // The request is queued first, so that it goes out before the response headers arrive.
        requests.try_send(request).ok();
        let replies = open(ReceiverStream::new(receiver)).await?.into_inner();
        let mut call = Call { requests, replies };
        let reply = call.reply().await?;
        self.0 = Some(call);
        Ok(reply)
    }
}
