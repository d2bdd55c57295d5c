//! A lean gRPC client: HTTP/2 by `h2`, messages framed in advance, one thread, answers discarded
//! unless the caller reads them.
//!
//! On a machine with two cores, a client takes CPU time from the server. A heavy client so makes
//! two servers look alike.

pub(crate) mod closed;
pub(crate) mod go;
pub(crate) mod message;
pub(crate) mod steady;

use std::future::Future;

use anyhow::{Context as _, Result, bail, ensure};
use bytes::{Buf as _, Bytes, BytesMut};
use h2::RecvStream;
use h2::client::SendRequest;
use http::header::{CONTENT_TYPE, TE};
use http::uri::{Authority, Parts, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri};
use prost::Message;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use message::Rpc;

/// A stream's flow-control window. Large, so that long answers are not throttled.
const STREAM_WINDOW_BYTES: u32 = 8 << 20;
/// A connection's flow-control window.
const CONNECTION_WINDOW_BYTES: u32 = 32 << 20;
/// A gRPC message's prefix: the compression flag and the length.
const PREFIX_BYTES: usize = 5;

/// One HTTP/2 connection. Clones share it.
#[derive(Clone)]
pub(crate) struct Connection {
    sender: SendRequest<Bytes>,
    authority: Authority,
    /// Proves the identity of the client, if the server asks for it.
    token: Option<HeaderValue>,
}

/// The tasks that drive connections. Dropping them ends the connections.
pub(crate) type Drivers = JoinSet<()>;

impl Connection {
    /// Connects to `address`, a host and port.
    pub(crate) async fn open(address: &str, drivers: &mut Drivers) -> Result<Self> {
        let socket = TcpStream::connect(address).await?;
        socket.set_nodelay(true)?;
        let (sender, connection) = h2::client::Builder::new()
            .initial_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .handshake(socket)
            .await?;
        drivers.spawn(async move {
            // Callers that wait for answers see a lost connection themselves.
            let _lost = connection.await;
        });
        Ok(Self { sender, authority: address.parse()?, token: None })
    }

    /// The same connection, for calls with this token.
    #[must_use]
    pub(crate) fn with_token(self, token: Option<HeaderValue>) -> Self {
        Self { token, ..self }
    }

    /// Sends a framed message, and passes each piece of the framed answer to `piece`.
    ///
    /// # Errors
    /// If the connection is lost or the server refuses.
    pub(crate) async fn call(
        &self,
        rpc: Rpc,
        message: Bytes,
        mut piece: impl FnMut(Bytes),
    ) -> Result<()> {
        let mut sender = self.sender.clone().ready().await?;
        let (response, mut stream) = sender.send_request(self.request(rpc)?, false)?;
        stream.send_data(message, true)?;
        let response = response.await?;
        ensure!(response.status() == StatusCode::OK, "HTTP status {}", response.status());
        // An answer without a message has its status in the headers.
        if response.body().is_end_stream() {
            return check(response.headers());
        }
        let mut body = response.into_body();
        while let Some(data) = body.data().await {
            let data = data?;
            release(&mut body, data.len())?;
            piece(data);
        }
        check(&body.trailers().await?.context("the answer has no trailers")?)
    }

    /// Sends only the beginning of a message, and waits for an answer. Calls `taken` once the
    /// beginning is handed to the connection.
    ///
    /// # Errors
    /// If the connection is lost or the server resets the stream.
    pub(crate) async fn withhold(
        &self,
        rpc: Rpc,
        beginning: Bytes,
        taken: impl FnOnce(),
    ) -> Result<()> {
        let mut sender = self.sender.clone().ready().await?;
        let (response, mut stream) = sender.send_request(self.request(rpc)?, false)?;
        stream.send_data(beginning, false)?;
        taken();
        response.await?;
        Ok(())
    }

    /// Sends a message and decodes the answer.
    ///
    /// # Errors
    /// As [`call`](Self::call), and if the answer cannot be decoded.
    pub(crate) async fn unary<Answer: Message + Default>(
        &self,
        rpc: Rpc,
        message: &impl Message,
    ) -> Result<Answer> {
        let mut body = BytesMut::new();
        self.call(rpc, message::framed(message), |piece| body.extend_from_slice(&piece)).await?;
        ensure!(body.len() >= PREFIX_BYTES, "the answer has only {} bytes", body.len());
        body.advance(PREFIX_BYTES);
        Ok(Answer::decode(body)?)
    }

    fn request(&self, rpc: Rpc) -> Result<Request<()>> {
        let mut uri = Parts::default();
        uri.scheme = Some(Scheme::HTTP);
        uri.authority = Some(self.authority.clone());
        uri.path_and_query = Some(PathAndQuery::from_static(rpc.path()));
        let mut request = Request::new(());
        *request.method_mut() = Method::POST;
        *request.uri_mut() = Uri::from_parts(uri)?;
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(TE, HeaderValue::from_static("trailers"));
        if let Some(token) = &self.token {
            headers.insert("token", token.clone());
        }
        Ok(request)
    }
}

fn release(body: &mut RecvStream, bytes: usize) -> Result<()> {
    Ok(body.flow_control().release_capacity(bytes)?)
}

/// An error unless `grpc-status` is 0.
fn check(trailers: &HeaderMap) -> Result<()> {
    let status = trailers.get("grpc-status").context("the answer has no status")?;
    if status != "0" {
        let text = trailers.get("grpc-message").map_or("", |text| text.to_str().unwrap_or(""));
        bail!("refused: status {}, {text}", status.to_str()?);
    }
    Ok(())
}

/// Runs a client on the current thread.
///
/// # Errors
/// Those of the client, and if no runtime can be built.
pub(crate) fn run<T>(client: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(client)
}

/// Sends one message over a new connection and decodes the answer.
///
/// # Errors
/// As [`Connection::unary`].
pub(crate) fn ask<Answer: Message + Default>(
    address: &str,
    rpc: Rpc,
    message: &impl Message,
) -> Result<Answer> {
    run(async {
        let mut drivers = Drivers::new();
        let connection = Connection::open(address, &mut drivers).await?;
        connection.unary(rpc, message).await.with_context(|| format!("{rpc:?}"))
    })
}

#[cfg(test)]
mod tests {
    use http::HeaderName;

    use super::*;

    #[test]
    fn only_status_0_is_a_success() {
        let trailers = |status: &'static str| {
            HeaderMap::from_iter([(
                HeaderName::from_static("grpc-status"),
                HeaderValue::from_static(status),
            )])
        };
        assert!(check(&trailers("0")).is_ok());
        assert!(check(&trailers("14")).unwrap_err().to_string().contains("status 14"));
        assert!(check(&HeaderMap::new()).is_err());
    }
}
