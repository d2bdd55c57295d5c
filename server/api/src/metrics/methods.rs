//! Counts calls by method, under the names of Go's gRPC middleware.

use std::collections::HashMap;
use std::sync::Arc;

use prometheus::{IntCounter, IntCounterVec};
use tonic::Code;

use super::series::counters;
use crate::method::{METHODS, Method};

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

/// The counters of one method. To look them up by their labels at each call would be slow.
pub(crate) struct MethodMetrics {
    pub(crate) method: &'static Method,
    started: IntCounter,
    received: IntCounter,
    sent: IntCounter,
    handled: Vec<IntCounter>,
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

    /// Counts a call that ended.
    pub(crate) fn handled(&self, code: Code) {
        let number = usize::try_from(code as i32).unwrap_or(2);
        self.handled[number.min(CODES.len() - 1)].inc();
    }
}

/// The counters of all methods.
pub(super) struct Methods {
    by_path: HashMap<String, Arc<MethodMetrics>>,
    /// The same counters, for registration.
    pub(super) counters: [IntCounterVec; 4],
}

impl Methods {
    pub(super) fn new() -> Self {
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
            }
        };
        let by_path = METHODS.iter().map(|method| (method.path(), Arc::new(metrics(method))));
        let by_path = by_path.collect();
        Self { by_path, counters: [started, received, sent, handled] }
    }

    pub(super) fn get(&self, path: &str) -> Option<&Arc<MethodMetrics>> {
        self.by_path.get(path)
    }
}
