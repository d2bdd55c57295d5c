//! An OpenTelemetry collector: it keeps the spans that servers send.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use bytes::{Bytes, BytesMut};
use h2::RecvStream;
use h2::server::SendResponse;
use http::{HeaderMap, Request, Response};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use prost::Message as _;
use quorate_test_support::{block_on, grpc};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// The path of the method that takes spans.
const EXPORT: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

/// A span as it was sent.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    /// The attributes of the server.
    pub(crate) resource: BTreeMap<String, String>,
    pub(crate) scope: String,
    pub(crate) name: String,
    pub(crate) trace: Vec<u8>,
    pub(crate) id: Vec<u8>,
    pub(crate) parent: Vec<u8>,
    pub(crate) kind: i32,
    /// The code and the message of the status.
    pub(crate) status: (i32, String),
    pub(crate) attributes: BTreeMap<String, String>,
}

/// A collector on a port of its own. It serves until the process ends.
#[derive(Clone, Debug)]
pub(crate) struct Collector {
    pub(crate) address: String,
    received: Arc<Mutex<Vec<Received>>>,
}

impl Collector {
    pub(crate) fn start() -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let this = Self { address, received: Arc::default() };
        let collector = this.clone();
        thread::spawn(move || {
            block_on(async {
                let listener = TcpListener::from_std(listener).unwrap();
                let mut connections = JoinSet::new();
                loop {
                    let (connection, _) = listener.accept().await.unwrap();
                    connections.spawn(collector.clone().serve(connection));
                }
            });
        });
        this
    }

    /// All spans that were received.
    pub(crate) fn spans(&self) -> MutexGuard<'_, Vec<Received>> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn serve(self, connection: TcpStream) {
        let mut connection = h2::server::handshake(connection).await.unwrap();
        let mut calls = JoinSet::new();
        while let Some(Ok((request, respond))) = connection.accept().await {
            calls.spawn(self.clone().take(request, respond));
        }
    }

    async fn take(self, request: Request<RecvStream>, mut respond: SendResponse<Bytes>) {
        assert_eq!(request.uri().path(), EXPORT);
        let mut body = request.into_body();
        let mut bytes = BytesMut::new();
        while let Some(data) = body.data().await {
            let data = data.unwrap();
            body.flow_control().release_capacity(data.len()).unwrap();
            bytes.extend_from_slice(&data);
        }
        let spans = ExportTraceServiceRequest::decode(&bytes[5..]).unwrap();
        self.spans().extend(received(spans));
        let head = Response::builder().header("content-type", "application/grpc");
        let mut answer = respond.send_response(head.body(()).unwrap(), false).unwrap();
        answer.send_data(grpc::frame(&[]).into(), false).unwrap();
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", "0".parse().unwrap());
        answer.send_trailers(trailers).unwrap();
    }
}

fn received(request: ExportTraceServiceRequest) -> Vec<Received> {
    let mut all = Vec::new();
    for resource in request.resource_spans {
        let of = attributes(resource.resource.unwrap_or_default().attributes);
        for scope in resource.scope_spans {
            let name = scope.scope.unwrap_or_default().name;
            all.extend(scope.spans.into_iter().map(|span| {
                let status = span.status.unwrap_or_default();
                Received {
                    resource: of.clone(),
                    scope: name.clone(),
                    name: span.name,
                    trace: span.trace_id,
                    id: span.span_id,
                    parent: span.parent_span_id,
                    kind: span.kind,
                    status: (status.code, status.message),
                    attributes: attributes(span.attributes),
                }
            }));
        }
    }
    all
}

fn attributes(attributes: Vec<KeyValue>) -> BTreeMap<String, String> {
    let shown = |value: Option<AnyValue>| format!("{:?}", value.and_then(|value| value.value));
    attributes.into_iter().map(|KeyValue { key, value, .. }| (key, shown(value))).collect()
}
