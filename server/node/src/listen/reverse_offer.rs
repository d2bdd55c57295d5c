//! Reverse connections that other members offer: they opened them, and this member calls over them.

use hyper::body::Incoming as Body;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use quorate_raft::{Connection, Member, REVERSE_PROTOCOL, ReverseConnection};
use tokio::io::{AsyncRead, AsyncWrite};

use super::incoming::Incoming;

/// The reverse connection that a connection becomes after its HTTP upgrade, if any.
#[derive(Default)]
pub(super) struct Slot(Mutex<Option<(OnUpgrade, ReverseConnection)>>);

/// Whether a request offers its connection as a reverse connection.
pub(super) fn is_offer(request: &hyper::Request<Body>) -> bool {
    let upgrade = request.headers().get(http::header::UPGRADE);
    let asks = upgrade.is_some_and(|upgrade| upgrade == REVERSE_PROTOCOL);
    asks && request.version() == http::Version::HTTP_11
}

impl Slot {
    /// Answers an offer: `101 Switching Protocols` if the member accepts it, else `403` with
    /// the reason.
    pub(super) fn answer(
        &self,
        member: &Member,
        mut request: hyper::Request<Body>,
        is_proven: bool,
    ) -> hyper::Response<tonic::body::Body> {
        let headers = std::mem::take(request.headers_mut());
        match member.accept_reverse_connection(headers, is_proven) {
            Ok(accepted) => {
                *self.0.lock() = Some((hyper::upgrade::on(request), accepted));
                let mut answer = hyper::Response::new(tonic::body::Body::empty());
                *answer.status_mut() = http::StatusCode::SWITCHING_PROTOCOLS;
                let headers = answer.headers_mut();
                for (name, value) in [
                    (http::header::CONNECTION, "upgrade"),
                    (http::header::UPGRADE, REVERSE_PROTOCOL),
                ] {
                    headers.insert(name, http::HeaderValue::from_static(value));
                }
                answer
            }
            Err(refusal) => {
                let body = http_body_util::Full::new(bytes::Bytes::from(refusal));
                let mut answer = hyper::Response::new(tonic::body::Body::new(body));
                *answer.status_mut() = http::StatusCode::FORBIDDEN;
                answer
            }
        }
    }

    /// Holds a reverse connection until it ends. Returns at once if there is none.
    pub(super) async fn hold<I>(&self)
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Some((upgrade, accepted)) = self.0.lock().take() else { return };
        let Ok(upgraded) = upgrade.await else { return };
        if let Some(connection) = bare::<I>(upgraded) {
            accepted.hold(connection).await;
        }
    }
}

/// The connection below HTTP. `None` if bytes have already arrived on it: the initiator must wait.
fn bare<I>(upgraded: Upgraded) -> Option<Box<dyn Connection>>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let parts = upgraded.downcast::<TokioIo<Incoming<I>>>().ok()?;
    let io = parts.io.into_inner().into_bare()?;
    parts.read_buf.is_empty().then(|| Box::new(io) as Box<dyn Connection>)
}
