//! Pages of a member's port of metrics.

use std::net::SocketAddr;
use std::time::Duration;

use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Method, Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::Error;

/// Longest time for a page. The probes of Kubernetes wait as long.
const TIMEOUT: Duration = Duration::from_secs(3);
/// Largest page that is read. Pages of interest have less than a kilobyte.
const BODY_BYTES_MAX: usize = 64 << 10;

/// Reads a page.
///
/// # Errors
/// There is no answer in time, or it is too large.
pub(super) async fn get(at: SocketAddr, path: &str) -> Result<(StatusCode, Bytes), Error> {
    ask(Method::GET, at, path).await
}

/// Asks for what a page does.
///
/// # Errors
/// There is no answer in time, or it is too large.
pub(super) async fn post(at: SocketAddr, path: &str) -> Result<(StatusCode, Bytes), Error> {
    ask(Method::POST, at, path).await
}

async fn ask(method: Method, at: SocketAddr, path: &str) -> Result<(StatusCode, Bytes), Error> {
    let page = tokio::time::timeout(TIMEOUT, fetch(method, at, path)).await;
    let page = page.map_err(|_| Error::Unreachable(format!("{at}{path}: timed out")))?;
    page.map_err(|error| Error::Unreachable(format!("{at}{path}: {error}")))
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

async fn fetch(method: Method, at: SocketAddr, path: &str) -> Result<(StatusCode, Bytes), Failure> {
    let stream = TcpStream::connect(at).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, at.to_string())
        .body(Empty::<Bytes>::new())?;
    let exchange = async move {
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), BODY_BYTES_MAX).collect().await?;
        Ok((status, body.to_bytes()))
    };
    // The connection ends by itself once the exchange has dropped its sender. Its error, if any,
    // is also that of the exchange.
    let (page, _) = tokio::join!(exchange, connection);
    page
}
