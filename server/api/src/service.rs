//! The entry point of the API: one service for all requests on a client port.

mod call;
mod checks;
mod dispatch;
pub(crate) mod socket;
mod web;

use std::error::Error;
use std::future::ready;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response, Version};
use http_body::Body;
use http_body_util::{BodyExt, Full};
use quorate_raft::{Account, Permit};

use self::dispatch::Services;
use crate::gateway::Gateway;
use crate::http::certificate_page::CertificatePage;
use crate::http::{self as pages, Page, Pages, not_found};
use crate::memory::{ANSWER_WITHIN, CALL_BYTES, charged, take};
use crate::metrics::Metrics;
use crate::server::Server;
use crate::transport::answer::ResponseBody;
use crate::transport::caller::Caller;
use crate::transport::head;

/// A connection that holds fewer bytes of the memory budget than this gets a page even if the
/// budget is used up: whatever clients do, health and metrics can be read.
const PAGES_BYTES: usize = 64 << 10;

/// All services of a client port. Clones share them.
#[derive(Clone)]
pub struct ApiService {
    server: Server,
    pages: Arc<Pages>,
    services: Services,
    /// `None` if it is switched off.
    gateway: Option<Arc<Gateway>>,
}

impl ApiService {
    /// The services of `server`. `/metrics` shows `registry`, and `/tls` shows `certificates`.
    pub fn new(
        server: Server,
        registry: prometheus::Registry,
        certificates: Arc<dyn CertificatePage>,
    ) -> Self {
        let pages = Arc::new(Pages::new(server.clone(), registry, certificates));
        let services = Services::new(&server);
        let gateway = server.options().serves_gateway;
        let gateway = gateway.then(|| Arc::new(Gateway::new(server.message_bytes_max())));
        Self { server, pages, services, gateway }
    }

    /// The caller of a new connection, for all its requests. `certificate` is the client's verified
    /// certificate in DER, and `common_name` finds the name of its subject. `is_secure` says
    /// whether the connection uses TLS.
    pub fn caller(
        &self,
        certificate: Option<Bytes>,
        common_name: impl FnOnce(&Bytes) -> Option<String>,
        is_secure: bool,
    ) -> Caller {
        let shown = certificate.as_ref().filter(|_| self.server.options().trusts_common_names);
        let common_name = shown.and_then(common_name).filter(|name| !name.is_empty());
        let common_name = common_name.map(Arc::from);
        let account = self.server.member().budget().account();
        let mut caller = Caller::new(account, certificate, is_secure);
        caller.common_name = common_name;
        caller
    }

    /// Answers a request of a client: a gRPC call or a request for an HTTP page.
    pub async fn serve<B>(&self, request: Request<B>, caller: Caller) -> Response<ResponseBody>
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<Box<dyn Error + Send + Sync>> + Send,
    {
        if self.is_grpc(&request) {
            return self.serve_grpc(request, caller).await;
        }
        Box::pin(self.serve_web(request, caller)).await
    }

    /// Answers a request at a port that serves only gRPC.
    pub async fn serve_grpc_alone<B>(
        &self,
        request: Request<B>,
        caller: Caller,
    ) -> Response<ResponseBody>
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<Box<dyn Error + Send + Sync>> + Send,
    {
        if self.is_grpc(&request) {
            self.serve_grpc(request, caller).await
        } else {
            self.page(ready(not_found()), 0, &caller.account).await
        }
    }

    /// Answers a request at a port that serves only pages for monitoring.
    pub async fn serve_page<B>(
        &self,
        request: &Request<B>,
        caller: &Caller,
    ) -> Response<ResponseBody> {
        let about = self.pages.size_about(request.uri().path());
        let page = self.pages.serve(request.method(), request.uri(), request.headers());
        self.page(page, about, &caller.account).await
    }

    /// The metrics of the API.
    pub fn metrics(&self) -> &Metrics {
        self.server.metrics()
    }

    /// Whether a request is a gRPC call: it uses HTTP/2, and has the content type of gRPC or the
    /// path of a method.
    fn is_grpc<B>(&self, request: &Request<B>) -> bool {
        let is_call = head::is_grpc(request.headers())
            || self.server.metrics().method(request.uri().path()).is_some();
        request.version() == Version::HTTP_2 && is_call
    }

    /// The page that `page` makes. Takes memory for `about` bytes first, so that a page that waits
    /// for memory is not in memory yet. The bytes of the page stay charged until the connection has
    /// written them.
    async fn page(
        &self,
        page: impl Future<Output = Page>,
        about: usize,
        account: &Account,
    ) -> Response<ResponseBody> {
        let metrics = self.server.clone();
        let bytes = CALL_BYTES + about;
        let permit = if account.used() < PAGES_BYTES {
            Ok(account.charge(bytes))
        } else {
            take(account, bytes, ANSWER_WITHIN).await
        };
        let page = match permit {
            Ok(mut permit) => {
                if about > 0 {
                    // The memory is given back, so that the metrics do not count their own page.
                    // The page is then made at once, so only few pages have no charge at a time.
                    permit.shrink_to(0);
                }
                page.await.map(|bytes| charged_page(bytes, permit))
            }
            Err(_) => pages::exhausted(),
        };
        page.map(|bytes| {
            let body = Full::new(bytes).map_err(|never| match never {});
            let inner = tonic::body::Body::new(body);
            ResponseBody { inner, call: None, metrics }
        })
    }
}

/// The bytes of a page, with a permit for exactly these bytes. `permit` may be for more or fewer.
fn charged_page(page: Bytes, mut permit: Permit) -> Bytes {
    let bytes = CALL_BYTES + page.len();
    let beyond = permit.account().charge(bytes.saturating_sub(permit.bytes()));
    permit.join(beyond);
    permit.shrink_to(bytes);
    charged(page, permit)
}
