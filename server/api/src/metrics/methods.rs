//! Counts calls by method, under the names of Go's gRPC middleware.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec};
use quorate_raft::RateLimit;
use tonic::Code;

use super::series::{call_durations, counters};
use crate::method::{METHODS, Method, MethodKind};

/// Shortest time between two log lines about slow calls.
const SLOW_PAUSE: Duration = Duration::from_secs(1);

static SLOW_LINES: RateLimit = RateLimit::new(SLOW_PAUSE);

/// The middleware's names of the codes, indexed by number.
const CODES: [&str; 17] = [
    "OK",
    "Canceled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
];

/// The settings for the durations of calls.
pub(crate) struct CallTimes {
    /// Whether there is a histogram of the durations for each method.
    pub(crate) are_measured: bool,
    /// A unary call that takes longer than this is logged.
    pub(crate) slow_after: Duration,
}

/// The counters of one method. A lookup by labels at each call would be slow.
pub(crate) struct MethodMetrics {
    pub(crate) method: &'static Method,
    started: IntCounter,
    received: IntCounter,
    sent: IntCounter,
    handled: Vec<IntCounter>,
    /// The durations of calls, if they are measured.
    durations: Option<Histogram>,
    /// A call that takes longer than this is logged; `None` for streams.
    slow_after: Option<Duration>,
}

impl MethodMetrics {
    /// Counts a call that begins, and its first message.
    pub(crate) fn begun(&self) {
        self.started.inc();
        self.received.inc();
    }

    /// Counts a message to the client.
    pub(crate) fn sent(&self) {
        self.sent.inc();
    }

    /// Counts a call that ended with `code` after the time `took`.
    pub(crate) fn handled(&self, code: Code, took: Duration) {
        let number = usize::try_from(code as i32).unwrap_or(2);
        let number = number.min(CODES.len() - 1);
        self.handled[number].inc();
        if let Some(durations) = &self.durations {
            durations.observe(took.as_secs_f64());
        }
        if self.slow_after.is_some_and(|limit| took > limit)
            && let Some(others) = SLOW_LINES.allows()
        {
            let Method { route, name, .. } = self.method;
            let expected = self.slow_after;
            tracing::warn!(
                took = ?took,
                "expected-duration" = ?expected.unwrap_or_default(),
                method = format!("{}/{name}", route.service()),
                code = CODES[number],
                others,
                "request took too long"
            );
        }
    }
}

/// The counters of all methods.
pub(super) struct Methods {
    by_path: HashMap<String, Arc<MethodMetrics>>,
    /// The same counters, for registration.
    pub(super) counters: [IntCounterVec; 4],
    /// The histograms of all methods, if the durations of calls are measured.
    pub(super) durations: Option<HistogramVec>,
}

impl Methods {
    pub(super) fn new(times: &CallTimes) -> Self {
        let labels = ["grpc_type", "grpc_service", "grpc_method"];
        let started = counters("grpc_server_started_total", "Started calls.", &labels);
        let received =
            counters("grpc_server_msg_received_total", "Messages received from clients.", &labels);
        let sent = counters("grpc_server_msg_sent_total", "Messages sent to clients.", &labels);
        let handled = counters(
            "grpc_server_handled_total",
            "Ended calls, by code.",
            &["grpc_type", "grpc_service", "grpc_method", "grpc_code"],
        );
        let durations = times.are_measured.then(|| {
            let help = "The time from the start of a call to the end of its answer.";
            call_durations("grpc_server_handling_seconds", help, &labels)
        });
        let metrics = |method: &'static Method| {
            let labels = [method.kind.name(), method.route.service(), method.name];
            let with_code = |code| {
                let [kind, service, name] = labels;
                handled.with_label_values(&[kind, service, name, code])
            };
            MethodMetrics {
                method,
                started: started.with_label_values(&labels),
                received: received.with_label_values(&labels),
                sent: sent.with_label_values(&labels),
                handled: CODES.iter().copied().map(with_code).collect(),
                durations: durations.as_ref().map(|all| all.with_label_values(&labels)),
                slow_after: (method.kind == MethodKind::Unary).then_some(times.slow_after),
            }
        };
        let by_path = METHODS.iter().map(|method| (method.path(), Arc::new(metrics(method))));
        let by_path = by_path.collect();
        Self { by_path, counters: [started, received, sent, handled], durations }
    }

    pub(super) fn get(&self, path: &str) -> Option<&Arc<MethodMetrics>> {
        self.by_path.get(path)
    }
}
