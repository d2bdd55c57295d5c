//! Streaming calls that stay open: requests and replies alternate on them.

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Response, Status, Streaming};

/// A streaming call. The first request opens it, and the next request after a failure opens it
/// again. So a request costs one message each way, a fraction of a unary call.
pub(crate) struct Standing<Q, A>(Option<Call<Q, A>>);

struct Call<Q, A> {
    questions: mpsc::Sender<Q>,
    answers: Streaming<A>,
}

impl<Q, A> Call<Q, A> {
    async fn ask(&mut self, question: Q) -> Result<A, Status> {
        // If the call has ended, the replies say why.
        self.questions.try_send(question).ok();
        self.answer().await
    }

    async fn answer(&mut self) -> Result<A, Status> {
        let answer = self.answers.message().await?;
        answer.ok_or_else(|| Status::unavailable("the other member has ended the call"))
    }
}

impl<Q: Clone, A> Standing<Q, A> {
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
        question: Q,
    ) -> Result<A, Status> {
        if let Some(mut call) = self.0.take()
            && let Ok(answer) = call.ask(question.clone()).await
        {
            self.0 = Some(call);
            return Ok(answer);
        }
        let (questions, receiver) = mpsc::channel(1);
        // Queued first, so that it goes out before the response headers arrive.
        questions.try_send(question).ok();
        let answers = open(ReceiverStream::new(receiver)).await?.into_inner();
        let mut call = Call { questions, answers };
        let answer = call.answer().await?;
        self.0 = Some(call);
        Ok(answer)
    }
}
