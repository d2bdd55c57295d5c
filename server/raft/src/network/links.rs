//! Connections to the other members.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use quorate_core::store::Shared;
use quorate_proto::peer::peer_client::PeerClient;
use quorate_storage::data_dir::Identity;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::Request;
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;

use super::MESSAGE_BYTES_MAX;
use super::calls::{Heeding, Identify};
use super::connector::{Connector, DIAL_WITHIN, Urls, endpoint};
use super::flow::Flow;
use super::link::Link;
use super::way::{Line, Way, misled};
use crate::budget::Budget;
use crate::ground::connection::Dial;
use crate::ground::exclusion::Notice;
use crate::ground::member::Peers;
use crate::metrics::Metrics;

/// Longest silence of the snapshot connection: on a slow network, a keep-alive ping waits behind a
/// full window of rows.
const BULK_PATIENCE: Duration = Duration::from_secs(20);
/// Age in election timeouts at which connections are replaced if the member does not answer.
const PATIENCE_RENEW: u32 = 3;
/// Time limit in election timeouts for replies that a member should send at once.
const PATIENCE_STALL: u32 = 3;

/// Intervals and timeouts of connections.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    /// Interval between heartbeats.
    pub(crate) heartbeat: Duration,
    /// Longest silence of a connection before it is closed: the election timeout.
    pub(crate) patience: Duration,
}

/// A member that does not answer at its URLs.
pub(crate) struct Closed {
    pub(crate) member: u64,
    pub(crate) way: Arc<Way>,
    pub(crate) urls: Vec<String>,
}

/// This member's connections to all others.
pub(crate) struct Links {
    identity: Identity,
    dial: Arc<dyn Dial>,
    /// Interval between heartbeats.
    heartbeat: Duration,
    /// Longest silence of a connection before it is closed: the election timeout.
    patience: Duration,
    store: Arc<Shared>,
    peers: watch::Receiver<Peers>,
    notice: Notice,
    metrics: Arc<Metrics>,
    budget: Budget,
    links: Mutex<BTreeMap<u64, Link>>,
    flow: watch::Sender<Flow>,
    /// The ways to the members; a way outlives its links.
    ways: Mutex<BTreeMap<u64, Arc<Way>>>,
}

/// What [`Links`] needs from the rest of the member.
pub(crate) struct Around {
    pub(crate) store: Arc<Shared>,
    pub(crate) peers: watch::Receiver<Peers>,
    pub(crate) metrics: Arc<Metrics>,
    /// For snapshots in flight.
    pub(crate) budget: Budget,
}

impl Links {
    /// Connections to the current members in `peers`.
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

    /// The headers of every call to `member`.
    pub(crate) fn headers(&self, member: u64) -> http::HeaderMap {
        let mut identify = Identify::new(&self.identity, member, self.store.clone());
        let request = identify.call(Request::new(())).expect("it refuses nothing");
        request.into_parts().0.into_headers()
    }

    /// The budget for the bytes in flight in this process.
    pub(crate) fn budget(&self) -> &Budget {
        &self.budget
    }

    /// Opens connections outside of links.
    pub(crate) fn dialer(&self) -> &Arc<dyn Dial> {
        &self.dial
    }

    /// Longest silence of a connection, and the time limit for a connection attempt.
    pub(crate) fn patience(&self) -> (Duration, Duration) {
        (self.patience, self.patience + DIAL_WITHIN)
    }

    /// The members in this member's log.
    pub(crate) fn peers(&self) -> watch::Receiver<Peers> {
        self.peers.clone()
    }

    /// The limits that replication streams obey.
    pub(crate) fn flow(&self) -> &watch::Sender<Flow> {
        &self.flow
    }

    /// The metrics of this member.
    pub(crate) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Exclusions of this member are posted here.
    pub(crate) fn notice(&self) -> &Notice {
        &self.notice
    }

    /// Whether this member's own state says that it was removed.
    pub(crate) fn is_removed(&self) -> bool {
        let me = self.identity.member_id;
        let peers = self.peers.borrow();
        // At first no members are known. A removed member that was made the only one is a member
        // again.
        !peers.is_empty()
            && !peers.contains_key(&me)
            && self.store.tables(|tables| tables.removed.contains(&me))
    }

    /// Links to all other members.
    pub(crate) fn to_all(&self) -> Vec<Link> {
        let others: Vec<u64> = self.peers.borrow().keys().copied().collect();
        let others = others.into_iter().filter(|id| *id != self.identity.member_id);
        others.filter_map(|id| self.to(id)).collect()
    }

    /// This member's identity.
    pub(crate) fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The link to `member`; `None` if it is not a member.
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

    /// The way to `member`; `None` if it is not a member.
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

    /// The members that do not answer at their URLs.
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

    /// Drops the connections to a member that seems reachable but does not answer: the network may
    /// have lost a part of what was sent, and the rest waits for it forever. Keeps young
    /// connections: an absent member must not be called all the time.
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

    /// A heartbeat is late this long after the one before: twice the interval, as in etcd.
    pub(crate) fn lateness(&self) -> Duration {
        self.heartbeat * 2
    }

    /// Time limit for replies that a member should send at once if it answers heartbeats.
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
            // Never cancelled: a snapshot in flight is sent to its end.
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
