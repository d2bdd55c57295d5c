//! The entry point of the API: one service for all requests on a client port.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, Version, header};
use http_body::Body;
use http_body_util::{BodyExt, Full};
use quorate_raft::Account;
use tokio::time::{Instant, timeout_at};
use tonic::Status;
use tonic::codec::CompressionEncoding;
use tonic::codegen::Service;

use crate::error::{ApiError, status};
use crate::grpc::cluster::ClusterService;
use crate::grpc::health::HealthService;
use crate::grpc::kv::KvService;
use crate::grpc::lease::LeaseService;
use crate::grpc::maintenance::MaintenanceService;
use crate::grpc::needs_leader;
use crate::grpc::stubs::cluster_server::ClusterServer;
use crate::grpc::stubs::health_server::HealthServer;
use crate::grpc::stubs::k_v_server::KVServer;
use crate::grpc::stubs::lease_server::LeaseServer;
use crate::grpc::stubs::maintenance_server::MaintenanceServer;
use crate::grpc::stubs::watch_server::WatchServer;
use crate::grpc::watch::WatchService;
use crate::http::{Pages, not_found};
use crate::metrics::{MethodMetrics, MethodType, Metrics, NO_VERSION};
use crate::server::{GRPC_OVERHEAD_BYTES, Server};
use crate::transport::answer::{Call, Charge, ResponseBody};
use crate::transport::body::{Checked, Rules};
use crate::transport::charge::{Held, take_call};
use crate::transport::head::{self, unknown_method};
use crate::transport::intake::Intake;

/// The names of all gRPC services.
const SERVICES: [&str; 6] = [
    "etcdserverpb.KV",
    "etcdserverpb.Watch",
    "etcdserverpb.Lease",
    "etcdserverpb.Cluster",
    "etcdserverpb.Maintenance",
    "grpc.health.v1.Health",
];

/// The metadata key of the client's API version.
const CLIENT_API_VERSION: &str = "client-api-version";

/// Whether a learner answers at least some calls of the method at this path.
fn is_for_learners(path: &str) -> bool {
    matches!(
        path,
        "/etcdserverpb.Maintenance/Status"
            | "/etcdserverpb.Maintenance/Snapshot"
            | "/etcdserverpb.KV/Range"
    )
}

/// All services of a client port. Clones share them.
#[derive(Clone)]
pub struct ApiService {
    server: Server,
    pages: Arc<Pages>,
    kv: KVServer<KvService>,
    watch: WatchServer<WatchService>,
    lease: LeaseServer<LeaseService>,
    cluster: ClusterServer<ClusterService>,
    maintenance: MaintenanceServer<MaintenanceService>,
    health: HealthServer<HealthService>,
}

impl ApiService {
    /// The services of `server`. `/metrics` shows `registry`.
    pub fn new(server: Server, registry: prometheus::Registry) -> Self {
        let pages = Arc::new(Pages::new(server.clone(), registry));
        // The frame check limits the size of a message as it is sent. This limit is for its
        // decompressed size.
        let limit = server.options().max_request_bytes + GRPC_OVERHEAD_BYTES;
        macro_rules! service {
            ($server:ident, $service:ident) => {
                $server::new($service(server.clone()))
                    .max_decoding_message_size(limit)
                    .accept_compressed(CompressionEncoding::Gzip)
            };
        }
        Self {
            pages,
            kv: service!(KVServer, KvService),
            watch: service!(WatchServer, WatchService),
            lease: service!(LeaseServer, LeaseService),
            cluster: service!(ClusterServer, ClusterService),
            maintenance: service!(MaintenanceServer, MaintenanceService),
            health: service!(HealthServer, HealthService),
            server,
        }
    }

    /// Answers a request of a client: a gRPC call or a request for an HTTP page.
    pub async fn serve<B>(&self, request: Request<B>) -> Response<ResponseBody>
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>> + Send,
    {
        if self.is_grpc(&request) {
            return self.serve_grpc(request).await;
        }
        let method = request.method().clone();
        let uri = request.uri().clone();
        self.page(self.pages.serve(&method, &uri).await)
    }

    /// Answers a request at a port that serves only gRPC.
    pub async fn serve_grpc_alone<B>(&self, request: Request<B>) -> Response<ResponseBody>
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>> + Send,
    {
        if self.is_grpc(&request) { self.serve_grpc(request).await } else { self.page(not_found()) }
    }

    /// Answers a request at a port that serves only HTTP pages.
    pub async fn serve_page(&self, method: &Method, uri: &http::Uri) -> Response<ResponseBody> {
        self.page(self.pages.serve(method, uri).await)
    }

    fn page(&self, response: Response<Full<Bytes>>) -> Response<ResponseBody> {
        let metrics = self.server.clone();
        response.map(|body| {
            let inner = tonic::body::Body::new(body.map_err(|never| match never {}));
            ResponseBody { inner, call: None, metrics }
        })
    }

    async fn serve_grpc<B>(&self, mut request: Request<B>) -> Response<ResponseBody>
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>> + Send,
    {
        let head = match head::check(&request) {
            Ok(head) => head,
            Err(refused) => return self.grpc_response(refused.into_response(), None),
        };
        let path = request.uri().path_and_query().map_or("", |path| path.as_str());
        let Some(method) = self.server.metrics().method(path).cloned() else {
            let refused = unknown_method(path, &SERVICES).into_http();
            return self.grpc_response(refused, None);
        };
        method.started.inc();
        method.received.inc();
        let refused = if self.server.member().is_learner() && !is_for_learners(path) {
            Err(status(ApiError::NotSupportedForLearner))
        } else {
            self.check_headers(request.headers(), &method)
        };
        let account = request.extensions().get::<Account>().cloned();
        let account = account.unwrap_or_else(|| self.account());
        let intake = request.extensions().get::<Intake>().cloned().unwrap_or_default();
        let permit = match refused {
            Ok(()) => take_call(&account, &intake, request.headers()).await,
            Err(refused) => Err(refused),
        };
        request.extensions_mut().insert(account.clone());
        let deadline = head.timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let rules =
            Rules { kind: method.kind, is_gzip: head.is_gzip, length_max: self.length_max() };
        let (mut response, permit) = match permit {
            Err(refused) => (refused.into_http(), None),
            Ok(permit) => {
                let held = Held::new(&account, intake);
                let answer = self.dispatch(request, rules, held.clone());
                let answer = match deadline {
                    None => answer.await,
                    Some(deadline) => match timeout_at(deadline, answer).await {
                        Ok(answer) => answer,
                        Err(_) => status(ApiError::DeadlineExceeded).into_http(),
                    },
                };
                (answer, Some(permit))
            }
        };
        response.headers_mut().insert(header::CONTENT_TYPE, head.content_type);
        let charge = permit.map(|permit| Charge::new(account, permit, method.kind));
        let call = Call::new(method, &mut response, deadline, charge);
        self.grpc_response(response, Some(call))
    }

    /// Largest size of a message in bytes.
    fn length_max(&self) -> usize {
        self.server.options().max_request_bytes + GRPC_OVERHEAD_BYTES
    }

    /// Whether a request is a gRPC call. A request to the path of a method is a call whatever its
    /// content type is, if it uses HTTP/2.
    fn is_grpc<B>(&self, request: &Request<B>) -> bool {
        let is_call = head::is_grpc(request.headers())
            || self.server.metrics().method(request.uri().path()).is_some();
        request.version() == Version::HTTP_2 && is_call
    }

    /// Counts the client's API version. Refuses a call because of its metadata.
    fn check_headers(&self, headers: &HeaderMap, method: &MethodMetrics) -> Result<(), Status> {
        let version = match headers.get(CLIENT_API_VERSION) {
            None => NO_VERSION,
            Some(value) => value.to_str().map_err(|_| status(ApiError::InvalidClientApiVersion))?,
        };
        let kind = if method.kind == MethodType::Unary { "unary" } else { "stream" };
        self.server.metrics().client_requests.count(kind, version);
        let led = || self.server.member().status_now().leader.is_some();
        if needs_leader(headers) && !led() {
            return Err(status(ApiError::NoLeader));
        }
        Ok(())
    }

    async fn dispatch<B>(
        &self,
        request: Request<B>,
        rules: Rules,
        held: Held,
    ) -> Response<tonic::body::Body>
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>> + Send,
    {
        // The clone of `held` outlives the body, because the decoded request exists until it has
        // been answered.
        let body = held.clone();
        let request = request.map(|inner| Checked::new(inner, self.server.clone(), rules, body));
        let service = request.uri().path().split('/').nth(1).unwrap_or_default();
        let response = match service {
            "etcdserverpb.KV" => self.kv.clone().call(request).await,
            "etcdserverpb.Watch" => self.watch.clone().call(request).await,
            "etcdserverpb.Lease" => self.lease.clone().call(request).await,
            "etcdserverpb.Cluster" => self.cluster.clone().call(request).await,
            "etcdserverpb.Maintenance" => self.maintenance.clone().call(request).await,
            _ => self.health.clone().call(request).await,
        };
        drop(held);
        match response {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }

    fn grpc_response(
        &self,
        response: Response<tonic::body::Body>,
        call: Option<Call>,
    ) -> Response<ResponseBody> {
        let metrics = self.server.clone();
        response.map(|inner| ResponseBody { inner, call, metrics })
    }

    /// A memory account for a new connection. Each request of the connection must have it as an
    /// extension.
    pub fn account(&self) -> Account {
        self.server.member().budget().account()
    }

    /// The metrics of the API.
    pub fn metrics(&self) -> &Metrics {
        self.server.metrics()
    }
}
