//! Counts a call that is being answered.

use std::sync::Arc;

use http::HeaderMap;
use tokio::time::Instant;
use tonic::Code;

use crate::method::MethodKind;
use crate::metrics::MethodMetrics;

/// The counts of a call. The end of the call is counted when the `Count` is dropped.
pub(crate) struct Count {
    method: Arc<MethodMetrics>,
    code: Option<Code>,
    started: Instant,
    /// Whether a message has been counted.
    is_sent: bool,
}

impl Count {
    /// The counts of a call that began at `started` and whose answer begins with these headers.
    pub(crate) fn new(method: Arc<MethodMetrics>, started: Instant, headers: &HeaderMap) -> Self {
        // An answer without a body has its code in the headers.
        let code = headers.contains_key("grpc-status").then(|| code_of(headers));
        Self { method, code, started, is_sent: false }
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
        self.code = Some(code_of(trailers));
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
