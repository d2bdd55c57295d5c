//! Counts a call that is being answered.

use std::sync::Arc;

use http::HeaderMap;
use percent_encoding::percent_decode;
use tokio::time::Instant;
use tonic::Code;

use crate::method::MethodKind;
use crate::metrics::MethodMetrics;
use crate::tracer::CallSpan;

/// The counts of a call. The end of the call is counted when the `Count` is dropped.
pub(crate) struct Count {
    method: Arc<MethodMetrics>,
    code: Option<Code>,
    started: Instant,
    /// Whether a message has been counted.
    is_sent: bool,
    /// `None` if calls are not traced.
    span: Option<CallSpan>,
}

impl Count {
    /// The counts of a call that began at `started` and whose answer begins with these headers.
    pub(crate) fn new(
        method: Arc<MethodMetrics>,
        started: Instant,
        headers: &HeaderMap,
        span: Option<CallSpan>,
    ) -> Self {
        let mut this = Self { method, code: None, started, is_sent: false, span };
        // An answer without a body has its code in the headers.
        if headers.contains_key("grpc-status") {
            this.ended(headers);
        }
        this
    }

    /// Whether the status code of the call is known.
    pub(crate) fn has_code(&self) -> bool {
        self.code.is_some()
    }

    /// Counts sent data. The message of a unary call may come in several pieces.
    pub(crate) fn sent(&mut self) {
        let is_first = !std::mem::replace(&mut self.is_sent, true);
        if is_first || self.method.method.kind != MethodKind::Unary {
            self.method.sent();
        }
    }

    /// Notes the code in the trailers of the answer.
    pub(crate) fn ended(&mut self, trailers: &HeaderMap) {
        let code = code_of(trailers);
        self.code = Some(code);
        if let Some(span) = &mut self.span {
            span.end(code, message_of(trailers));
        }
    }
}

impl Drop for Count {
    fn drop(&mut self) {
        // A call without a code was cancelled by the client.
        self.method.handled(self.code.unwrap_or(Code::Cancelled), self.started.elapsed());
    }
}

fn code_of(trailers: &HeaderMap) -> Code {
    trailers.get("grpc-status").map_or(Code::Unknown, |code| Code::from_bytes(code.as_bytes()))
}

fn message_of(trailers: &HeaderMap) -> String {
    let message = trailers.get("grpc-message").map_or(&[][..], |message| message.as_bytes());
    percent_decode(message).decode_utf8_lossy().into_owned()
}
