//! Distributed tracing with OpenTelemetry. Each call has a span, and its operation has a span
//! within that one. Names and attributes are etcd's: the OpenTelemetry instrumentation of Go's gRPC
//! defines those of calls, and etcd itself defines those of operations.

pub(crate) mod operation;

use std::fmt;
use std::sync::Arc;

use http::HeaderMap;
use opentelemetry::global::{BoxedSpan, BoxedTracer, ObjectSafeTracer};
use opentelemetry::propagation::{Extractor, TextMapPropagator};
use opentelemetry::trace::{SpanKind, Status, TraceContextExt as _, Tracer as _, TracerProvider};
use opentelemetry::{Context, KeyValue};
use tonic::Code;

use self::operation::Operation;
use crate::method::Method;

/// The scope of the spans of calls, as in etcd.
const CALLS: &str = "go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc";
/// The scope of the spans of operations, as in etcd.
const OPERATIONS: &str = "go.etcd.io/etcd";

/// The header that names the client's trace and span, and the lengths of its first parts. The rule
/// is that of the W3C's Trace Context.
const PARENT: &str = "traceparent";
const PARENT_LENGTHS: [usize; 4] = [2, 32, 16, 2];

/// OpenTelemetry's names of the codes, indexed by number.
const CODES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// Makes the spans of calls. Clones share the provider of the spans.
#[derive(Clone)]
pub struct Tracer {
    parts: Arc<Parts>,
}

struct Parts {
    calls: BoxedTracer,
    operations: BoxedTracer,
    propagator: Box<dyn TextMapPropagator + Send + Sync>,
}

impl Tracer {
    /// A tracer whose spans `provider` samples and exports. `propagator` finds the trace of the
    /// client in the metadata of a call.
    pub fn new<P>(provider: &P, propagator: impl TextMapPropagator + Send + Sync + 'static) -> Self
    where
        P: TracerProvider,
        P::Tracer: ObjectSafeTracer + Send + Sync + 'static,
    {
        let tracer = |scope| BoxedTracer::new(Box::new(provider.tracer(scope)));
        let (calls, operations) = (tracer(CALLS), tracer(OPERATIONS));
        let propagator = Box::new(propagator);
        Self { parts: Arc::new(Parts { calls, operations, propagator }) }
    }

    /// The span of a call with these headers: a part of the client's trace, or the beginning of a
    /// new one.
    pub(crate) fn call(&self, method: &Method, headers: &HeaderMap) -> CallSpan {
        let Parts { calls, propagator, .. } = &*self.parts;
        let client = propagator.extract_with_context(&Context::new(), &Headers(headers));
        let name = format!("{}/{}", method.route.service(), method.name);
        let attributes =
            [KeyValue::new("rpc.method", name.clone()), KeyValue::new("rpc.system.name", "grpc")];
        let builder = calls.span_builder(name).with_kind(SpanKind::Server);
        let span = calls.build_with_context(builder.with_attributes(attributes), &client);
        let context = client.with_span(span);
        CallSpan { trace: Trace { tracer: self.clone(), context }, status: None }
    }
}

impl fmt::Debug for Tracer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tracer").finish_non_exhaustive()
    }
}

/// The trace that a call belongs to.
#[derive(Clone)]
pub(crate) struct Trace {
    tracer: Tracer,
    context: Context,
}

impl Trace {
    /// The span of an operation of the call. It ends when it is dropped.
    pub(crate) fn operation(&self, operation: impl FnOnce() -> Operation) -> Option<BoxedSpan> {
        if !self.context.span().is_recording() {
            return None;
        }
        let Operation { name, attributes } = operation();
        let tracer = &self.tracer.parts.operations;
        let builder = tracer.span_builder(name).with_attributes(attributes);
        Some(tracer.build_with_context(builder, &self.context))
    }
}

/// The span of a call. It ends when it is dropped. If [`end`](Self::end) has noted no outcome, the
/// client has cancelled the call.
pub(crate) struct CallSpan {
    trace: Trace,
    status: Option<(Code, String)>,
}

impl CallSpan {
    /// The trace that the call belongs to.
    pub(crate) fn trace(&self) -> &Trace {
        &self.trace
    }

    /// Notes how the call ends.
    pub(crate) fn end(&mut self, code: Code, message: impl Into<String>) {
        self.status = Some((code, message.into()));
    }
}

impl Drop for CallSpan {
    fn drop(&mut self) {
        let span = self.trace.context.span();
        let (code, message) =
            self.status.take().unwrap_or_else(|| (Code::Cancelled, String::new()));
        if is_fault(code) {
            span.set_status(Status::error(message));
        }
        let number = usize::try_from(code as i32).unwrap_or(2).min(CODES.len() - 1);
        span.set_attribute(KeyValue::new("rpc.response.status_code", CODES[number]));
        span.end();
    }
}

/// Whether a code says that the server, not the client, is at fault. The rule is that of
/// OpenTelemetry's conventions for gRPC.
fn is_fault(code: Code) -> bool {
    matches!(
        code,
        Code::Unknown
            | Code::DeadlineExceeded
            | Code::Unimplemented
            | Code::Internal
            | Code::Unavailable
            | Code::DataLoss
    )
}

/// The metadata of a call, for the propagator.
struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        let text = self.0.get(key)?.to_str().ok()?;
        // The propagator would take shorter identifiers for others that begin with zeros.
        let is_whole = key != PARENT || text.split('-').map(str::len).take(4).eq(PARENT_LENGTHS);
        is_whole.then_some(text)
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(http::HeaderName::as_str).collect()
    }
}
