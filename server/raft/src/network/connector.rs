//! Opens connections to a member.

use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use quorate_proto::peer::peer_client::PeerClient;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};

use super::channel_state::ChannelState;
use super::counted::Counted;
use crate::ground::connection::{Connection, Dial};
use crate::ground::consensus::BoxFuture;
use crate::metrics::peers::{ConnectionMetrics, PeerMetrics};

/// HTTP/2 flow-control windows of a stream and a connection, in bytes: about what a fast network
/// holds during a round trip.
const STREAM_WINDOW: u32 = 4 << 20;
const CONNECTION_WINDOW: u32 = 8 << 20;
/// Time limit for a connection attempt beyond the election timeout, as in etcd.
pub(super) const DIAL_WITHIN: Duration = Duration::from_secs(1);

/// The URLs of a member. As in etcd, a change does not close connections. New connections go to the
/// new URLs, and to the former ones until a new URL accepts a connection: a member that is about to
/// move still serves at its former URLs, and the quorum may depend on it.
#[derive(Clone)]
pub(super) struct Urls(Arc<Mutex<Known>>);

struct Known {
    now: Arc<[String]>,
    before: Arc<[String]>,
}

impl Urls {
    pub(super) fn new(urls: &[String]) -> Self {
        Self(Arc::new(Mutex::new(Known { now: urls.into(), before: [].into() })))
    }

    /// Sets the current URLs. If they differ, the previous ones become the former URLs.
    pub(super) fn learn(&self, urls: &[String]) {
        let mut known = self.0.lock();
        if *known.now != *urls {
            known.before = std::mem::replace(&mut known.now, urls.into());
        }
    }

    /// The URLs in the order of attempts; true marks former URLs.
    fn candidates(&self) -> Vec<(String, bool)> {
        let known = self.0.lock();
        let now = known.now.iter().map(|url| (url.clone(), false));
        now.chain(known.before.iter().map(|url| (url.clone(), true))).collect()
    }

    /// A current URL accepted a connection: drops the former URLs.
    fn has_moved(&self) {
        self.0.lock().before = [].into();
    }
}

/// Connects to a member: tries its URLs in turn, or takes a reverse connection.
#[derive(Clone)]
pub(super) struct Connector {
    pub(super) dial: Arc<dyn Dial>,
    pub(super) urls: Urls,
    pub(super) election_timeout: Duration,
    pub(super) metrics: Arc<ConnectionMetrics>,
    /// `None` in a client made by [`client_at`].
    pub(super) state: Option<Arc<ChannelState>>,
    /// Cancelled when calls must take another route. A reverse connection then ends an election
    /// timeout later, so that calls have time to move.
    pub(super) outdated: CancellationToken,
}

impl Connector {
    /// Connects to the first URL that accepts a connection. Tries current URLs before former ones,
    /// and the last used URL first among them.
    async fn dial(&self) -> io::Result<Box<dyn Connection>> {
        let last = self.state.as_ref().and_then(|state| state.route.url());
        let mut candidates = self.urls.candidates();
        candidates.sort_by_key(|(url, is_former)| (*is_former, Some(url) != last.as_ref()));
        let within = self.election_timeout + DIAL_WITHIN;
        let mut failed = io::Error::other("the member has no peer URL");
        for (url, is_former) in candidates {
            match tokio::time::timeout(within, self.dial.dial(url.clone())).await {
                Ok(Ok(connection)) => {
                    if !is_former {
                        self.urls.has_moved();
                    }
                    self.state.iter().for_each(|state| state.connected(Some(&url)));
                    return Ok(connection);
                }
                Ok(Err(error)) => {
                    failed = io::Error::new(error.kind(), format!("{url}: {error}"));
                }
                Err(_) => failed = late(format!("{url}: no connection within {within:?}")),
            }
        }
        Err(failed)
    }

    async fn connect(&self) -> io::Result<Counted> {
        let counted = |connection| Counted::new(connection, self.metrics.clone());
        let Some(state) = &self.state else { return self.dial().await.map(counted) };
        state.connecting();
        let connected = match state.initiator {
            None => tokio::select! {
                biased;
                dialled = self.dial() => dialled.map(counted),
                () = state.route.alternative(self.election_timeout) => {
                    Err(late(format!("no connection within {:?}", self.election_timeout)))
                }
            },
            Some(_) if self.outdated.is_cancelled() => {
                return Err(late("the member is called at its URL again".to_owned()));
            }
            Some(initiator) => {
                let within = self.election_timeout + DIAL_WITHIN;
                match tokio::time::timeout(within, state.route.reverse.take(initiator)).await {
                    Ok(Some(taken)) => {
                        state.connected(None);
                        let outdated = self.outdated.clone();
                        let delay = self.election_timeout;
                        let until = Box::pin(async move {
                            outdated.cancelled().await;
                            tokio::time::sleep(delay).await;
                        });
                        Ok(Counted::reverse(taken, until, self.metrics.clone()))
                    }
                    _ => Err(late("the member offers no reverse connection".to_owned())),
                }
            }
        };
        connected.inspect_err(|error| state.connect_failed(error))
    }
}

fn late(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, text)
}

impl tower_service::Service<Uri> for Connector {
    type Response = TokioIo<Counted>;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Self::Response>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let connector = self.clone();
        Box::pin(async move { connector.connect().await.map(TokioIo::new) })
    }
}

/// A client for a server that is known only by its URL, as before joining a cluster. Connections
/// are given up after `timeout`.
pub(super) fn client_at(dial: Arc<dyn Dial>, url: &str, timeout: Duration) -> PeerClient<Channel> {
    // These metrics are not exported.
    let metrics = PeerMetrics::new(0).connections(0);
    let urls = Urls::new(&[url.to_owned()]);
    let outdated = CancellationToken::new();
    let connector =
        Connector { dial, urls, election_timeout: timeout, metrics, state: None, outdated };
    PeerClient::new(endpoint(timeout).connect_with_connector_lazy(connector))
}

/// An endpoint whose connections end after a silence of `silence_max`.
pub(super) fn endpoint(silence_max: Duration) -> Endpoint {
    // The connector knows the address; the authority is a placeholder.
    Endpoint::from_static("http://member.invalid")
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .http2_keep_alive_interval(silence_max)
        .keep_alive_timeout(silence_max)
        .keep_alive_while_idle(true)
}
