//! The HTTP pages: health, version, metrics, certificates, status and debugging.

pub(crate) mod certificate_page;
mod certificates;
pub(crate) mod debug;
mod health;
mod metrics_page;
pub(crate) mod status;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::{HeaderMap, Method, Response, StatusCode, Uri, header};
use prometheus::Registry;
use quorate_raft::DATA_FORMAT;

use self::certificate_page::CertificatePage;
use crate::error::ApiError;
use crate::server::Server;
use crate::version::{CLUSTER_VERSION, ETCD_VERSION, VERSION};

/// The HTTP pages of a server.
pub(crate) struct Pages {
    server: Server,
    registry: Registry,
    certificates: Arc<dyn CertificatePage>,
    /// Bytes of the last page of each kind that can be large.
    metrics_bytes: AtomicUsize,
    certificates_bytes: AtomicUsize,
}

/// A page.
pub(crate) type Page = Response<Bytes>;

/// Approximate bytes of the metrics of a new member.
const METRICS_BYTES: usize = 64 << 10;

const PLAIN: &str = "text/plain; charset=utf-8";

fn page(status: StatusCode, content_type: &'static str, text: impl Into<Bytes>) -> Page {
    let mut response = Response::new(text.into());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static(content_type));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, header::HeaderValue::from_static("nosniff"));
    response
}

/// The answer to an unknown path, with the text of Go's HTTP library.
pub(crate) fn not_found() -> Page {
    page(StatusCode::NOT_FOUND, PLAIN, "404 page not found\n")
}

/// The answer to a request that a foreign web page could have sent.
pub(crate) fn misdirected(text: String) -> Page {
    page(StatusCode::MISDIRECTED_REQUEST, PLAIN, text)
}

/// The answer to a call of the gateway with a certificate that has a common name, in etcd's words.
pub(crate) fn name_unused() -> Page {
    let text = "CommonName of client sending a request against gateway will be ignored and not \
                used as expected\n";
    page(StatusCode::BAD_REQUEST, PLAIN, text)
}

/// The answer to an unknown client while authentication is on.
pub(crate) fn unauthorized(refused: &ApiError) -> Page {
    page(StatusCode::UNAUTHORIZED, PLAIN, format!("{}\n", refused.text()))
}

/// The answer to OPTIONS. Its headers for CORS are added to every answer.
pub(crate) fn options() -> Page {
    Page::default()
}

/// The answer when the memory budget has no room for a page.
pub(crate) fn exhausted() -> Page {
    page(StatusCode::SERVICE_UNAVAILABLE, PLAIN, "the memory budget is used up\n")
}

fn method_not_allowed(allowed: &'static str) -> Page {
    let mut response = page(StatusCode::METHOD_NOT_ALLOWED, PLAIN, "Method Not Allowed\n");
    response.headers_mut().insert(header::ALLOW, header::HeaderValue::from_static(allowed));
    response
}

impl Pages {
    pub(crate) fn new(
        server: Server,
        registry: Registry,
        certificates: Arc<dyn CertificatePage>,
    ) -> Self {
        let metrics_bytes = AtomicUsize::new(METRICS_BYTES);
        let certificates_bytes = AtomicUsize::new(0);
        Self { server, registry, certificates, metrics_bytes, certificates_bytes }
    }

    /// The bytes of the page at `path`, as far as they are known before it is made; 0 for a page
    /// of less than a few KiB.
    pub(crate) fn size_about(&self, path: &str) -> usize {
        match path {
            "/metrics" => self.metrics_bytes.load(Ordering::Relaxed),
            "/tls" | "/tls/reload" => self.certificates_bytes.load(Ordering::Relaxed),
            _ => 0,
        }
    }

    /// Answers a request for an HTTP page.
    pub(crate) async fn serve(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Page {
        let path = uri.path();
        let known = Self::has_checks(path)
            || matches!(path, "/health" | "/version" | "/metrics" | "/tls" | "/tls/reload");
        if !known {
            return not_found();
        }
        let allowed = if path == "/tls/reload" { "POST" } else { "GET" };
        // As in etcd, /metrics accepts every method.
        if method.as_str() != allowed && path != "/metrics" {
            return method_not_allowed(allowed);
        }
        match path {
            "/health" => self.health(uri).await,
            "/version" => version(),
            "/metrics" => self.metrics(headers),
            "/tls" => self.certificates(),
            "/tls/reload" => self.reread_certificates(),
            _ => self.checks(uri).await,
        }
    }
}

/// The page `/version`. It has the JSON fields of etcd's page, because clients parse them, and
/// Quorate's own version and data format.
fn version() -> Page {
    let version = serde_json::json!({
        "etcdserver": ETCD_VERSION,
        "etcdcluster": CLUSTER_VERSION,
        "storage": CLUSTER_VERSION,
        "quorate": VERSION,
        "dataFormat": DATA_FORMAT,
    });
    page(StatusCode::OK, "application/json", version.to_string())
}
