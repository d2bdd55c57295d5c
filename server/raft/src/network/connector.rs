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

use super::counted::Counted;
use super::way::{Line, outwaited};
use crate::ground::connection::{Connection, Dial};
use crate::ground::consensus::BoxFuture;
use crate::metrics::peers::{LinkMetrics, PeerMetrics};

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

/// Connects to a member: tries its URLs in turn, or takes a connection that it lends.
#[derive(Clone)]
pub(super) struct Connector {
    pub(super) dial: Arc<dyn Dial>,
    pub(super) urls: Urls,
    pub(super) patience: Duration,
    pub(super) metrics: Arc<LinkMetrics>,
    /// `None` in a client made by [`stranger`].
    pub(super) line: Option<Arc<Line>>,
    /// Cancelled when calls must go another way. A lent connection then ends after `patience`,
    /// which is the time that calls have to move.
    pub(super) outdated: CancellationToken,
}

impl Connector {
    /// Connects to the first URL that accepts a connection. Tries current URLs before former ones,
    /// and the last used URL first among them.
    async fn dial(&self) -> io::Result<Box<dyn Connection>> {
        let last = self.line.as_ref().and_then(|line| line.way.url());
        let mut candidates = self.urls.candidates();
        candidates.sort_by_key(|(url, is_former)| (*is_former, Some(url) != last.as_ref()));
        let within = self.patience + DIAL_WITHIN;
        let mut failed = io::Error::other("the member has no peer URL");
        for (url, is_former) in candidates {
            match tokio::time::timeout(within, self.dial.dial(url.clone())).await {
                Ok(Ok(connection)) => {
                    if !is_former {
                        self.urls.has_moved();
                    }
                    self.line.iter().for_each(|line| line.connected(Some(&url)));
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
        let Some(line) = &self.line else { return self.dial().await.map(counted) };
        line.connecting();
        let connected = match line.lender {
            None => tokio::select! {
                biased;
                dialled = self.dial() => dialled.map(counted),
                () = outwaited(&line.way, self.patience) => {
                    Err(late(format!("no connection within {:?}", self.patience)))
                }
            },
            Some(_) if self.outdated.is_cancelled() => {
                return Err(late("the member is called at its URL again".to_owned()));
            }
            Some(lender) => {
                let within = self.patience + DIAL_WITHIN;
                match tokio::time::timeout(within, line.way.loans.take(lender)).await {
                    Ok(Some(taken)) => {
                        line.connected(None);
                        let (outdated, patience) = (self.outdated.clone(), self.patience);
                        let until = Box::pin(async move {
                            outdated.cancelled().await;
                            tokio::time::sleep(patience).await;
                        });
                        Ok(Counted::lent(taken, until, self.metrics.clone()))
                    }
                    _ => Err(late("the member lends no connections any more".to_owned())),
                }
            }
        };
        connected.inspect_err(|error| line.not_connected(error))
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

/// A client for a server of which only the URL is known, as before joining a cluster.
pub(super) fn stranger(dial: Arc<dyn Dial>, url: &str, patience: Duration) -> PeerClient<Channel> {
    // These metrics are not exported.
    let metrics = PeerMetrics::new(0).link(0);
    let urls = Urls::new(&[url.to_owned()]);
    let outdated = CancellationToken::new();
    let connector = Connector { dial, urls, patience, metrics, line: None, outdated };
    PeerClient::new(endpoint(patience).connect_with_connector_lazy(connector))
}

pub(super) fn endpoint(patience: Duration) -> Endpoint {
    // The connector knows the address; the authority is a placeholder.
    Endpoint::from_static("http://member.invalid")
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .http2_keep_alive_interval(patience)
        .keep_alive_timeout(patience)
        .keep_alive_while_idle(true)
}
