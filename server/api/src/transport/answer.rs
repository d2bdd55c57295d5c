//! The body of an answer. It updates the metrics, charges data to the memory budget until the
//! connection has written them, and ends the call at the client's deadline.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, Response};
use http_body::{Body, Frame, SizeHint};
use quorate_raft::{Account, Permit};
use tokio::time::{Instant, Sleep, sleep_until};
use tonic::{Code, Status};

use super::charge::{CALL_BYTES, REQUEST_BYTES, charged};
use super::stream::{Kept, Streamed};
use crate::error::{ApiError, status};
use crate::metrics::{MethodMetrics, MethodType};
use crate::server::Server;

/// The body of an answer.
pub struct ResponseBody {
    pub(crate) inner: tonic::body::Body,
    pub(crate) call: Option<Call>,
    pub(crate) metrics: Server,
}

/// A call whose end has not been counted yet.
pub(crate) struct Call {
    method: Arc<MethodMetrics>,
    code: Option<Code>,
    /// Whether a message has been counted.
    is_sent: bool,
    deadline: Option<Pin<Box<Sleep>>>,
    charge: Option<Charge>,
}

/// The share of a call in the memory budget.
pub(crate) struct Charge {
    account: Account,
    /// The permit that every call takes. In a unary call, the data of its message take it over.
    call: Option<Permit>,
    is_unary: bool,
    /// The permit for the message until it is encoded.
    kept: Option<Kept>,
    /// Whether the data come with permits of their own.
    is_charged: bool,
}

impl Charge {
    pub(crate) fn new(account: Account, call: Permit, kind: MethodType) -> Self {
        let is_unary = kind == MethodType::Unary;
        Self { account, call: Some(call), is_unary, kept: None, is_charged: false }
    }

    /// Charges data to the budget even if it has no room, because the data exist already.
    fn charge(&mut self, data: Bytes) -> Bytes {
        if self.is_charged {
            return data;
        }
        let call = if self.is_unary { self.call.take() } else { None };
        let permit = match call {
            None => self.account.charge(data.len()),
            Some(mut call) => {
                let beyond = data.len().saturating_sub(CALL_BYTES - REQUEST_BYTES);
                if beyond > 0 {
                    call.join(self.account.charge(beyond));
                }
                call
            }
        };
        self.kept = None;
        charged(data, permit)
    }
}

impl Call {
    /// The call that `response` answers. If the answer is streamed, this puts the stream's body
    /// into `response`. The client waits until `deadline`.
    pub(crate) fn new(
        method: Arc<MethodMetrics>,
        response: &mut Response<tonic::body::Body>,
        deadline: Option<Instant>,
        charge: Option<Charge>,
    ) -> Self {
        // An answer without a body has its code in the headers.
        let code =
            response.headers().contains_key("grpc-status").then(|| code_of(response.headers()));
        let deadline = deadline.filter(|_| code.is_none()).map(|at| Box::pin(sleep_until(at)));
        let mut call = Self { method, code, is_sent: false, deadline, charge };
        let streamed = response.extensions_mut().remove::<Streamed>();
        if let Some(charge) = &mut call.charge {
            charge.kept = response.extensions_mut().remove::<Kept>();
            charge.is_charged = streamed.is_some();
        }
        if let Some(streamed) = streamed {
            *response.body_mut() = streamed.into_body();
        }
        call
    }

    /// Counts sent messages. The message of a unary call may come in several pieces of data.
    fn sent(&mut self) {
        let is_first = !std::mem::replace(&mut self.is_sent, true);
        if is_first || self.method.kind != MethodType::Unary {
            self.method.sent.inc();
        }
    }

    /// Ready at the client's deadline.
    fn poll_deadline(&mut self, context: &mut Context<'_>) -> Poll<()> {
        match &mut self.deadline {
            None => Poll::Pending,
            Some(deadline) => deadline.as_mut().poll(context),
        }
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        if let Some(call) = self.call.take() {
            // A call without a code was cancelled by the client.
            call.method.handled(call.code.unwrap_or(Code::Cancelled));
        }
    }
}

/// A length as the value of a counter; exact up to 2^53.
#[expect(clippy::cast_precision_loss, reason = "counters of bytes are floating-point numbers")]
pub(crate) fn float(length: usize) -> f64 {
    length as f64
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        let frame = match (Pin::new(&mut this.inner).poll_frame(context), &mut this.call) {
            (Poll::Ready(frame), _) => frame,
            (Poll::Pending, None) => return Poll::Pending,
            (Poll::Pending, Some(call)) => {
                std::task::ready!(call.poll_deadline(context));
                call.deadline = None;
                call.charge = None;
                this.inner = tonic::body::Body::default();
                Some(Ok(Frame::trailers(too_late())))
            }
        };
        let Some(Ok(frame)) = frame else { return Poll::Ready(frame) };
        let frame = match frame.into_data() {
            Ok(data) => {
                this.metrics.metrics().sent_bytes.inc_by(float(data.len()));
                Frame::data(match &mut this.call {
                    None => data,
                    Some(call) => {
                        call.sent();
                        match &mut call.charge {
                            Some(charge) => charge.charge(data),
                            None => data,
                        }
                    }
                })
            }
            Err(frame) => {
                if let (Some(trailers), Some(call)) = (frame.trailers_ref(), &mut this.call) {
                    call.code = Some(code_of(trailers));
                }
                frame
            }
        };
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// The trailers of a call that has exceeded its deadline.
fn too_late() -> HeaderMap {
    let mut trailers = HeaderMap::new();
    // Cannot fail: `add_header` percent-encodes the text.
    status(ApiError::DeadlineExceeded).add_header(&mut trailers).ok();
    trailers
}

/// The code in the trailers of an answer.
pub(crate) fn code_of(trailers: &HeaderMap) -> Code {
    trailers.get("grpc-status").map_or(Code::Unknown, |code| Code::from_bytes(code.as_bytes()))
}
