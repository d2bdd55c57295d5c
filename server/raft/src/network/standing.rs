//! Calls that stay open: questions and answers take turns on them.

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Response, Status, Streaming};

/// A call that is opened by the first question, and again after it has failed. A question costs a
/// message each way then, which is a fraction of what a call of its own would.
pub(crate) struct Standing<Q, A>(Option<Call<Q, A>>);

struct Call<Q, A> {
    questions: mpsc::Sender<Q>,
    answers: Streaming<A>,
}

impl<Q, A> Call<Q, A> {
    async fn ask(&mut self, question: Q) -> Result<A, Status> {
        // When nobody takes it, the answers say why.
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

    /// Asks, over a call made by `open` when there is none. What fails on a call that was open
    /// already is asked once more: the connection may have ended long ago.
    ///
    /// # Cancel safety
    /// The call is closed when the future is dropped: no answer is taken for that to another
    /// question.
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
        // It goes out with the call, not after a first answer to that.
        questions.try_send(question).ok();
        let answers = open(ReceiverStream::new(receiver)).await?.into_inner();
        let mut call = Call { questions, answers };
        let answer = call.answer().await?;
        self.0 = Some(call);
        Ok(answer)
    }
}
