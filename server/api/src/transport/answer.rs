//! The body of an answer. It updates the metrics, charges data to the memory budget until the
//! connection has written them, and ends the call at the client's deadline.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, Response};
use http_body::{Body, Frame, SizeHint};
use quorate_raft::{Account, Permit, float};
use tokio::time::{Instant, Sleep, sleep_until};
use tonic::Status;

use super::count::Count;
use super::stream::{Kept, Streamed};
use crate::error::ApiError;
use crate::memory::{ANSWER_BYTES, charged};
use crate::method::MethodKind;
use crate::metrics::MethodMetrics;
use crate::server::Server;
use crate::tracer::CallSpan;

/// The body of an answer.
pub struct ResponseBody {
    pub(crate) inner: tonic::body::Body,
    pub(crate) call: Option<Call>,
    pub(crate) metrics: Server,
}

/// A call that is being answered.
pub(crate) struct Call {
    count: Count,
    deadline: Option<Pin<Box<Sleep>>>,
    charge: Option<Charge>,
}

/// A call's share of the memory budget.
pub(crate) struct Charge {
    account: Account,
    /// The permit that every call takes. In a unary call, it passes to the data of the answer.
    call: Option<Permit>,
    is_unary: bool,
    /// The permit for the message until it is encoded.
    kept: Option<Kept>,
    /// Whether the data come with permits of their own.
    is_charged: bool,
}

impl Charge {
    pub(crate) fn new(account: Account, call: Permit, kind: MethodKind) -> Self {
        let is_unary = kind == MethodKind::Unary;
        Self { account, call: Some(call), is_unary, kept: None, is_charged: false }
    }

    /// Charges data to the budget even if the budget has no room, because the data exist already.
    fn charge(&mut self, data: Bytes) -> Bytes {
        if self.is_charged {
            return data;
        }
        let call = if self.is_unary { self.call.take() } else { None };
        let permit = match call {
            None => self.account.charge(data.len()),
            Some(mut call) => {
                let beyond = data.len().saturating_sub(ANSWER_BYTES);
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
    /// into `response`. The call began at `started`, and the client waits until `deadline`.
    pub(crate) fn new(
        method: Arc<MethodMetrics>,
        started: Instant,
        response: &mut Response<tonic::body::Body>,
        deadline: Option<Instant>,
        charge: Option<Charge>,
        span: Option<CallSpan>,
    ) -> Self {
        let count = Count::new(method, started, response.headers(), span);
        let deadline = deadline.filter(|_| !count.has_code()).map(|at| Box::pin(sleep_until(at)));
        let mut call = Self { count, deadline, charge };
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

    /// Ready at the client's deadline.
    fn poll_deadline(&mut self, context: &mut Context<'_>) -> Poll<()> {
        match &mut self.deadline {
            None => Poll::Pending,
            Some(deadline) => deadline.as_mut().poll(context),
        }
    }
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
            Ok(data) => Frame::data(match &mut this.call {
                None => data,
                Some(call) => {
                    this.metrics.metrics().sent_bytes.inc_by(float(data.len() as u64));
                    call.count.sent();
                    match &mut call.charge {
                        Some(charge) => charge.charge(data),
                        None => data,
                    }
                }
            }),
            Err(frame) => {
                if let (Some(trailers), Some(call)) = (frame.trailers_ref(), &mut this.call) {
                    call.count.ended(trailers);
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
    Status::from(ApiError::DeadlineExceeded).add_header(&mut trailers).ok();
    trailers
}
