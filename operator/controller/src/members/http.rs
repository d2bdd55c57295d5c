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

/// Asks a page to act.
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

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// Answers one request, and returns its first line.
    async fn answer(listener: TcpListener, page: &str) -> String {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(stream.read_u8().await.unwrap());
        }
        // The client may have read enough.
        drop(stream.write_all(page.as_bytes()).await);
        let request = String::from_utf8(request).unwrap();
        request.lines().next().unwrap_or_default().to_owned()
    }

    #[tokio::test]
    async fn a_page_is_asked_for_by_its_method() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let page = "HTTP/1.1 429 Too Many Requests\r\ncontent-length: 6\r\n\r\nlater\n";
        let (line, answer) = tokio::join!(answer(listener, page), post(at, "/tls/reload"));
        assert_eq!(line, "POST /tls/reload HTTP/1.1");
        assert_eq!(answer.unwrap(), (StatusCode::TOO_MANY_REQUESTS, "later\n".into()));
    }

    #[tokio::test]
    async fn a_page_that_is_too_large_is_no_answer() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let body = "a".repeat(BODY_BYTES_MAX + 1);
        let page = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        let (line, answer) = tokio::join!(answer(listener, &page), get(at, "/tls"));
        assert_eq!(line, "GET /tls HTTP/1.1");
        assert!(matches!(answer, Err(Error::Unreachable(_))), "{answer:?}");
    }
}
