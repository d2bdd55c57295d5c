//! Connections to the other members.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use http::Uri;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use quorate_core::store::Shared;
use quorate_proto::peer::peer_client::PeerClient;
use quorate_storage::data_dir::Identity;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

use super::counted::Counted;
use super::loans::Lender;
use super::metrics::{LinkMetrics, PeerMetrics};
use super::way::{Line, Way, misled, outwaited};
use super::{Connection, Dial, MESSAGE_BYTES_MAX, header};
use crate::budget::Budget;
use crate::consensus::BoxFuture;
use crate::exclusion::Notice;
use crate::leadership::Peers;
use crate::metrics::Metrics;

/// Bytes that may be under way on a stream and a connection before they are read: about what a
/// fast network holds during a round trip.
const STREAM_WINDOW: u32 = 4 << 20;
const CONNECTION_WINDOW: u32 = 8 << 20;
/// How long the connection for snapshots may be silent: on a slow way, what asks whether anybody is
/// there waits behind a window full of rows.
const BULK_PATIENCE: Duration = Duration::from_secs(20);
/// Time to connect to a member besides an election timeout, as in etcd.
const DIAL_WITHIN: Duration = Duration::from_secs(1);
/// So many election timeouts a connection is kept although its member does not answer.
const PATIENCE_RENEW: u32 = 3;
/// So many election timeouts a member may take to do what it should do at once.
const PATIENCE_STALL: u32 = 3;

/// A client of another member.
pub(crate) type Client = PeerClient<Heeding>;

/// Says with each call who calls whom.
#[derive(Clone)]
pub(crate) struct Identify {
    cluster: MetadataValue<Ascii>,
    from: MetadataValue<Ascii>,
    to: u64,
    store: Arc<Shared>,
}

impl Identify {
    fn new(identity: &Identity, to: u64, store: Arc<Shared>) -> Self {
        Self {
            cluster: value(format!("{:x}", identity.cluster_id)),
            from: value(format!("{:x}.{:x}", identity.member_id, identity.incarnation)),
            to,
            store,
        }
    }
}

fn value(text: String) -> MetadataValue<Ascii> {
    text.parse().expect("digits and dots are a header's value")
}

impl Interceptor for Identify {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let headers = request.metadata_mut();
        headers.insert(header::CLUSTER, self.cluster.clone());
        headers.insert(header::FROM, self.from.clone());
        // A member that lost its data must not answer for the one that voted and stored.
        let incarnation = self
            .store
            .tables(|tables| tables.members.get(&self.to).map_or(0, |member| member.incarnation));
        headers.insert(header::TO, value(format!("{:x}.{incarnation:x}", self.to)));
        Ok(request)
    }
}

/// Reads in the answers of a member whether it is reached, and whether the cluster goes on without
/// this one.
#[derive(Clone)]
pub(crate) struct Heeding {
    calls: InterceptedService<Channel, Identify>,
    /// None where anybody may answer.
    notice: Option<Notice>,
    line: Arc<Line>,
}

type Call = http::Request<tonic::body::Body>;
type Calls = InterceptedService<Channel, Identify>;

impl tower_service::Service<Call> for Heeding {
    type Response = <Calls as tower_service::Service<Call>>::Response;
    type Error = <Calls as tower_service::Service<Call>>::Error;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        tower_service::Service::<Call>::poll_ready(&mut self.calls, context)
    }

    fn call(&mut self, call: Call) -> Self::Future {
        let (answered, notice) = (self.calls.call(call), self.notice.clone());
        let line = self.line.clone();
        Box::pin(async move {
            let answer = answered.await.inspect_err(|_| line.broken())?;
            // A call that is refused has its status in the headers.
            let status = Status::from_header_map(answer.headers());
            line.answered(status.as_ref(), answer.status().is_success());
            if let (Some(notice), Some(status)) = (notice, status) {
                notice.read(&status);
            }
            Ok(answer)
        })
    }
}

/// The URLs of a member. When they change, its connections stay, as in etcd. The next ones go to
/// the new URLs, and to those before while nobody has answered at the new ones: a member that is to
/// move serves where it was until then, and may be the one that everybody waits for.
#[derive(Clone)]
struct Urls(Arc<Mutex<Known>>);

struct Known {
    now: Arc<[String]>,
    before: Arc<[String]>,
}

impl Urls {
    fn new(urls: &[String]) -> Self {
        Self(Arc::new(Mutex::new(Known { now: urls.into(), before: [].into() })))
    }

    /// Takes note of what they are now.
    fn learn(&self, urls: &[String]) {
        let mut known = self.0.lock();
        if *known.now != *urls {
            known.before = std::mem::replace(&mut known.now, urls.into());
        }
    }

    /// In the order in which they are tried; true for those that are no more.
    fn candidates(&self) -> Vec<(String, bool)> {
        let known = self.0.lock();
        let now = known.now.iter().map(|url| (url.clone(), false));
        now.chain(known.before.iter().map(|url| (url.clone(), true))).collect()
    }

    /// Somebody answers at one of the new ones.
    fn has_moved(&self) {
        self.0.lock().before = [].into();
    }
}

/// Makes connections to a member: to its URLs, one after the other, or by taking those that it
/// lends.
#[derive(Clone)]
struct Connector {
    dial: Arc<dyn Dial>,
    urls: Urls,
    patience: Duration,
    metrics: Arc<LinkMetrics>,
    /// None of a member that is nobody's yet.
    line: Option<Arc<Line>>,
    /// Done when calls are to go another way. A connection that was lent ends then: they have some
    /// time before that.
    outdated: CancellationToken,
}

impl Connector {
    /// A connection to the first URL that can be reached, beginning with the one that was last.
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

/// The connections to one member.
#[derive(Clone)]
pub(crate) struct Link {
    urls: Urls,
    /// For entries of the log.
    pub(crate) log: Client,
    /// For what waits behind nothing.
    pub(crate) control: Client,
    /// For snapshots.
    pub(crate) bulk: Client,
    /// For what clients of one member ask of another one.
    pub(crate) requests: Client,
    pub(crate) metrics: Arc<LinkMetrics>,
    /// Done when the member is reached in another way: calls that stay open are to be made anew.
    pub(crate) outdated: CancellationToken,
    /// Who lends the connections; none when they are made to the member's URLs.
    lender: Option<Lender>,
    way: Arc<Way>,
    /// Whether the member has answered on them.
    spoken: Arc<AtomicBool>,
    /// Where it is noted that the cluster goes on without this member; none where anybody may
    /// answer.
    notice: Option<Notice>,
    since: Instant,
}

impl Link {
    /// Whether who answers is the member for sure, or as far as its URLs are its own: without a
    /// certificate, anybody can lend connections in its name.
    pub(crate) fn is_proven(&self) -> bool {
        self.lender.is_none_or(|lender| lender.is_proven)
    }

    /// Reads in a status whether the cluster goes on without this member.
    pub(crate) fn heed(&self, status: &Status) {
        self.notice.iter().for_each(|notice| notice.read(status));
    }
}

/// What is waited for, and how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    /// Interval between heartbeats.
    pub(crate) heartbeat: Duration,
    /// How long a connection may be silent before it is given up.
    pub(crate) patience: Duration,
}

/// What streams of entries to all members heed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Flow {
    /// Whether heartbeats and entries are held back: see
    /// [`leadership::beat`](crate::leadership::beat).
    pub(crate) is_silent: bool,
    /// Entries up to this index are to leave the log. A member that lacks some of them gets a
    /// snapshot instead.
    pub(crate) floor: u64,
}

/// A member that does not answer at its URLs.
pub(crate) struct Closed {
    pub(crate) member: u64,
    pub(crate) way: Arc<Way>,
    pub(crate) urls: Vec<String>,
}

/// The connections of this member to all others.
pub(crate) struct Links {
    identity: Identity,
    dial: Arc<dyn Dial>,
    /// Interval between heartbeats.
    heartbeat: Duration,
    /// How long a connection may be silent before it is given up.
    patience: Duration,
    store: Arc<Shared>,
    peers: watch::Receiver<Peers>,
    notice: Notice,
    metrics: Arc<Metrics>,
    budget: Budget,
    links: Mutex<BTreeMap<u64, Link>>,
    flow: watch::Sender<Flow>,
    /// How members are reached.
    ways: Mutex<BTreeMap<u64, Arc<Way>>>,
}

/// What connections to members look at.
pub(crate) struct Around {
    pub(crate) store: Arc<Shared>,
    pub(crate) peers: watch::Receiver<Peers>,
    pub(crate) metrics: Arc<Metrics>,
    /// For the snapshots that are sent over them.
    pub(crate) budget: Budget,
}

impl Links {
    /// Connections to the members in `peers`, whatever they are at the time.
    pub(crate) fn new(
        identity: Identity,
        dial: Arc<dyn Dial>,
        times: Times,
        around: Around,
    ) -> Self {
        let Times { heartbeat, patience } = times;
        let Around { store, peers, metrics, budget } = around;
        Self {
            identity,
            dial,
            heartbeat,
            patience,
            store,
            peers,
            notice: Notice::new(),
            metrics,
            budget,
            links: Mutex::default(),
            flow: watch::Sender::new(Flow::default()),
            ways: Mutex::default(),
        }
    }

    /// What every call to a member says.
    pub(crate) fn headers(&self, member: u64) -> http::HeaderMap {
        let mut identify = Identify::new(&self.identity, member, self.store.clone());
        let request = identify.call(Request::new(())).expect("it refuses nothing");
        request.into_parts().0.into_headers()
    }

    /// The bytes that may be in flight in this process.
    pub(crate) fn budget(&self) -> &Budget {
        &self.budget
    }

    /// Opens a connection that is nobody's yet.
    pub(crate) fn dialer(&self) -> &Arc<dyn Dial> {
        &self.dial
    }

    /// How long a connection may be silent, and how long one may take to be made.
    pub(crate) fn patience(&self) -> (Duration, Duration) {
        (self.patience, self.patience + DIAL_WITHIN)
    }

    /// The members, as the log has them.
    pub(crate) fn peers(&self) -> watch::Receiver<Peers> {
        self.peers.clone()
    }

    /// What streams of entries heed.
    pub(crate) fn flow(&self) -> &watch::Sender<Flow> {
        &self.flow
    }

    /// What is measured of all members.
    pub(crate) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Where it is noted that the cluster goes on without this member.
    pub(crate) fn notice(&self) -> &Notice {
        &self.notice
    }

    /// Whether this member itself knows that it was removed.
    pub(crate) fn is_removed(&self) -> bool {
        let me = self.identity.member_id;
        let peers = self.peers.borrow();
        // Nobody is known at first. A member that was removed and then made the only one is one.
        !peers.is_empty()
            && !peers.contains_key(&me)
            && self.store.tables(|tables| tables.removed.contains(&me))
    }

    /// The connections to all other members.
    pub(crate) fn to_all(&self) -> Vec<Link> {
        let others: Vec<u64> = self.peers.borrow().keys().copied().collect();
        let others = others.into_iter().filter(|id| *id != self.identity.member_id);
        others.filter_map(|id| self.to(id)).collect()
    }

    /// This member.
    pub(crate) fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The connections to `member`; none when it is no member.
    pub(crate) fn to(&self, member: u64) -> Option<Link> {
        let peers = self.peers.borrow();
        let urls = &peers.get(&member)?.0.peer_urls;
        let mut links = self.links.lock();
        match links.get(&member) {
            Some(link) if link.lender == link.way.lender() => {
                link.urls.learn(urls);
                return Some(link.clone());
            }
            Some(link) => link.outdated.cancel(),
            None => {}
        }
        links.retain(|id, _| peers.contains_key(id));
        let link = self.connect(member, urls);
        links.insert(member, link.clone());
        Some(link)
    }

    /// The ways to `member`; none when it is no member.
    pub(crate) fn way(&self, member: u64) -> Option<Arc<Way>> {
        let peers = self.peers.borrow();
        self.ways.lock().retain(|id, _| peers.contains_key(id));
        peers.contains_key(&member).then(|| self.way_to(member))
    }

    fn way_to(&self, member: u64) -> Arc<Way> {
        let mut ways = self.ways.lock();
        let way = ways.entry(member);
        way.or_insert_with(|| Arc::new(Way::new(member, &self.metrics.peers))).clone()
    }

    /// The members that are not at their URLs.
    pub(crate) fn closed(&self) -> Vec<Closed> {
        let peers = self.peers.borrow();
        let ways = self.ways.lock();
        let closed = ways.iter().filter(|(_, way)| !way.is_open());
        let closed = closed.filter_map(|(member, way)| {
            let urls = peers.get(member)?.0.peer_urls.clone();
            Some(Closed { member: *member, way: way.clone(), urls })
        });
        closed.collect()
    }

    /// Gives up the connections to a member that seems to be there and does not answer: something
    /// between the two may have lost a part of what was sent, and what remains goes on waiting for
    /// it. New ones are left alone: a member that is not there must not be called all the time.
    pub(crate) fn renew(&self, member: u64) {
        let mut links = self.links.lock();
        let is_old = |link: &Link| link.since.elapsed() >= self.patience * PATIENCE_RENEW;
        if let Some(link) = links.get(&member).filter(|link| is_old(link)) {
            if !link.spoken.load(Ordering::Relaxed) {
                misled(&link.way, link.lender);
            }
            links.remove(&member);
        }
    }

    /// How long after the one before a heartbeat is late: twice the interval, as in etcd.
    pub(crate) fn lateness(&self) -> Duration {
        self.heartbeat * 2
    }

    /// How long a member that answers heartbeats may take for anything that it should do at once.
    pub(crate) fn stall(&self) -> Duration {
        self.patience * PATIENCE_STALL
    }

    fn connect(&self, member: u64, urls: &[String]) -> Link {
        let urls = Urls::new(urls);
        let identify = Identify::new(&self.identity, member, self.store.clone());
        let way = self.way_to(member);
        let metrics = &way.metrics;
        let (lender, spoken) = (way.lender(), Arc::new(AtomicBool::new(false)));
        let is_proven = lender.is_none_or(|lender| lender.is_proven);
        let notice = is_proven.then(|| self.notice.clone());
        let outdated = CancellationToken::new();
        let client = |patience, outdated: &CancellationToken| {
            let line = Arc::new(Line::new(way.clone(), lender, spoken.clone()));
            let connector = Connector {
                dial: self.dial.clone(),
                urls: urls.clone(),
                patience: self.patience,
                metrics: metrics.clone(),
                line: Some(line.clone()),
                outdated: outdated.clone(),
            };
            let channel = endpoint(patience).connect_with_connector_lazy(connector);
            let calls = InterceptedService::new(channel, identify.clone());
            PeerClient::new(Heeding { calls, notice: notice.clone(), line })
                .max_decoding_message_size(MESSAGE_BYTES_MAX)
                .max_encoding_message_size(MESSAGE_BYTES_MAX)
        };
        Link {
            log: client(self.patience, &outdated),
            control: client(self.patience, &outdated),
            // A snapshot on its way comes to its end.
            bulk: client(self.patience.max(BULK_PATIENCE), &CancellationToken::new()),
            requests: client(self.patience, &outdated),
            urls: urls.clone(),
            metrics: metrics.clone(),
            lender,
            way: way.clone(),
            spoken: spoken.clone(),
            notice: notice.clone(),
            since: Instant::now(),
            outdated,
        }
    }
}

/// A client of a member of which only the URL is known, as before a cluster is joined.
pub(crate) fn stranger(dial: Arc<dyn Dial>, url: &str, patience: Duration) -> PeerClient<Channel> {
    // It is nobody's yet, and shown nowhere.
    let metrics = PeerMetrics::new(0).link(0);
    let urls = Urls::new(&[url.to_owned()]);
    let outdated = CancellationToken::new();
    let connector = Connector { dial, urls, patience, metrics, line: None, outdated };
    PeerClient::new(endpoint(patience).connect_with_connector_lazy(connector))
}

fn endpoint(patience: Duration) -> Endpoint {
    // The connector knows where to go; the authority is of no meaning.
    Endpoint::from_static("http://member.invalid")
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .http2_keep_alive_interval(patience)
        .keep_alive_timeout(patience)
        .keep_alive_while_idle(true)
}
