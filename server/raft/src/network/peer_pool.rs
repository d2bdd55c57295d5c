//! The connections to the other members.

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
use super::calls::{IdentityHeaders, ObservedCalls};
use super::channel_state::ChannelState;
use super::connector::{Connector, DIAL_WITHIN, Urls, endpoint};
use super::flow::Flow;
use super::peer_channels::PeerChannels;
use super::route::Route;
use crate::budget::Budget;
use crate::ground::connection::Dial;
use crate::ground::exclusion::Notice;
use crate::ground::member::Peers;
use crate::metrics::Metrics;

/// Longest silence of the snapshot connection: on a slow network, a keep-alive ping waits behind a
/// full window of rows.
const BULK_SILENCE_MAX: Duration = Duration::from_secs(20);
/// Age, in election timeouts, at which connections are replaced if the member does not answer.
const RENEW_AGE: u32 = 3;
/// Time limit, in election timeouts, for replies that a member should send at once.
const REPLY_TIMEOUTS: u32 = 3;

/// Intervals and timeouts of connections.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    /// Interval between heartbeats.
    pub(crate) heartbeat: Duration,
    /// Also the longest silence of a connection before it is closed.
    pub(crate) election_timeout: Duration,
}

/// A member that does not answer at its URLs.
pub(crate) struct UnreachablePeer {
    pub(crate) member: u64,
    pub(crate) route: Arc<Route>,
    pub(crate) urls: Vec<String>,
}

/// This member's connections to all others.
pub(crate) struct PeerPool {
    identity: Identity,
    dial: Arc<dyn Dial>,
    /// Interval between heartbeats.
    heartbeat: Duration,
    /// Also the longest silence of a connection before it is closed.
    election_timeout: Duration,
    store: Arc<Shared>,
    peers: watch::Receiver<Peers>,
    notice: Notice,
    metrics: Arc<Metrics>,
    budget: Budget,
    channels: Mutex<BTreeMap<u64, PeerChannels>>,
    flow: watch::Sender<Flow>,
    /// The routes to the members; a route outlives its channels.
    routes: Mutex<BTreeMap<u64, Arc<Route>>>,
}

/// The parts of the member that [`PeerPool`] needs.
pub(crate) struct PoolContext {
    pub(crate) store: Arc<Shared>,
    pub(crate) peers: watch::Receiver<Peers>,
    pub(crate) metrics: Arc<Metrics>,
    /// The budget for snapshots in flight.
    pub(crate) budget: Budget,
}

impl PeerPool {
    /// Connections to the current members in `peers`.
    pub(crate) fn new(
        identity: Identity,
        dial: Arc<dyn Dial>,
        times: Times,
        context: PoolContext,
    ) -> Self {
        let Times { heartbeat, election_timeout } = times;
        let PoolContext { store, peers, metrics, budget } = context;
        Self {
            identity,
            dial,
            heartbeat,
            election_timeout,
            store,
            peers,
            notice: Notice::new(),
            metrics,
            budget,
            channels: Mutex::default(),
            flow: watch::Sender::new(Flow::default()),
            routes: Mutex::default(),
        }
    }

    /// The headers of every call to `member`.
    pub(crate) fn headers(&self, member: u64) -> http::HeaderMap {
        let mut headers = IdentityHeaders::new(&self.identity, member, self.store.clone());
        let request = headers.call(Request::new(())).expect("the interceptor refuses no request");
        request.into_parts().0.into_headers()
    }

    /// The budget for the bytes in flight in this process.
    pub(crate) fn budget(&self) -> &Budget {
        &self.budget
    }

    /// Opens connections outside of the pool.
    pub(crate) fn dialer(&self) -> &Arc<dyn Dial> {
        &self.dial
    }

    /// Also the longest silence of a connection.
    pub(crate) fn election_timeout(&self) -> Duration {
        self.election_timeout
    }

    /// Time limit for a connection attempt.
    pub(crate) fn dial_timeout(&self) -> Duration {
        self.election_timeout + DIAL_WITHIN
    }

    /// The members in this member's log.
    pub(crate) fn members(&self) -> watch::Receiver<Peers> {
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

    /// Whether this member was removed, according to its own state.
    pub(crate) fn is_removed(&self) -> bool {
        let me = self.identity.member_id;
        let peers = self.peers.borrow();
        // `peers` is empty until the members are known, and `--force-new-cluster` makes a removed
        // member a member again.
        !peers.is_empty()
            && !peers.contains_key(&me)
            && self.store.tables(|tables| tables.removed.contains(&me))
    }

    /// The channels to all other members.
    pub(crate) fn all(&self) -> Vec<PeerChannels> {
        let others: Vec<u64> = self.peers.borrow().keys().copied().collect();
        let others = others.into_iter().filter(|id| *id != self.identity.member_id);
        others.filter_map(|id| self.peer(id)).collect()
    }

    /// This member's identity.
    pub(crate) fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The channels to `member`; `None` if it is not a member.
    pub(crate) fn peer(&self, member: u64) -> Option<PeerChannels> {
        let peers = self.peers.borrow();
        let urls = &peers.get(&member)?.0.peer_urls;
        let mut channels = self.channels.lock();
        match channels.get(&member) {
            Some(peer) if peer.initiator == peer.route.initiator() => {
                peer.urls.learn(urls);
                return Some(peer.clone());
            }
            Some(peer) => peer.outdated.cancel(),
            None => {}
        }
        channels.retain(|id, _| peers.contains_key(id));
        let peer = self.connect(member, urls);
        channels.insert(member, peer.clone());
        Some(peer)
    }

    /// The route to `member`; `None` if it is not a member.
    pub(crate) fn route(&self, member: u64) -> Option<Arc<Route>> {
        let peers = self.peers.borrow();
        self.routes.lock().retain(|id, _| peers.contains_key(id));
        peers.contains_key(&member).then(|| self.route_to(member))
    }

    fn route_to(&self, member: u64) -> Arc<Route> {
        let mut routes = self.routes.lock();
        let route = routes.entry(member);
        route.or_insert_with(|| Arc::new(Route::new(member, &self.metrics.peers))).clone()
    }

    /// The members that do not answer at their URLs.
    pub(crate) fn unreachable(&self) -> Vec<UnreachablePeer> {
        let peers = self.peers.borrow();
        let routes = self.routes.lock();
        let unreachable = routes.iter().filter(|(_, route)| !route.is_direct());
        let unreachable = unreachable.filter_map(|(member, route)| {
            let urls = peers.get(member)?.0.peer_urls.clone();
            Some(UnreachablePeer { member: *member, route: route.clone(), urls })
        });
        unreachable.collect()
    }

    /// Drops the connections to a member that seems reachable but does not answer: the network may
    /// have lost a part of the data, and the rest waits for it forever. Keeps young connections, so
    /// that a member that is down is not called all the time.
    pub(crate) fn renew(&self, member: u64) {
        let mut channels = self.channels.lock();
        let age_min = self.election_timeout * RENEW_AGE;
        if let Some(peer) = channels.get(&member).filter(|peer| peer.since.elapsed() >= age_min) {
            if !peer.has_answered.load(Ordering::Relaxed) {
                peer.route.abandon(peer.initiator);
            }
            channels.remove(&member);
        }
    }

    /// Time after a heartbeat at which the next one is late: twice the interval, as in etcd.
    pub(crate) fn heartbeat_late_after(&self) -> Duration {
        self.heartbeat * 2
    }

    /// Time limit for replies that a member should send at once if it answers heartbeats.
    pub(crate) fn reply_timeout(&self) -> Duration {
        self.election_timeout * REPLY_TIMEOUTS
    }

    fn connect(&self, member: u64, urls: &[String]) -> PeerChannels {
        let urls = Urls::new(urls);
        let headers = IdentityHeaders::new(&self.identity, member, self.store.clone());
        let route = self.route_to(member);
        let metrics = &route.metrics;
        let initiator = route.initiator();
        let has_answered = Arc::new(AtomicBool::new(false));
        let is_proven = initiator.is_none_or(|initiator| initiator.is_proven);
        let notice = is_proven.then(|| self.notice.clone());
        let outdated = CancellationToken::new();
        let client = |silence_max, outdated: &CancellationToken| {
            let state = ChannelState::new(route.clone(), initiator, has_answered.clone());
            let state = Arc::new(state);
            let connector = Connector {
                dial: self.dial.clone(),
                urls: urls.clone(),
                election_timeout: self.election_timeout,
                metrics: metrics.clone(),
                state: Some(state.clone()),
                outdated: outdated.clone(),
            };
            let channel = endpoint(silence_max).connect_with_connector_lazy(connector);
            let calls = InterceptedService::new(channel, headers.clone());
            PeerClient::new(ObservedCalls { calls, notice: notice.clone(), state })
                .max_decoding_message_size(MESSAGE_BYTES_MAX)
                .max_encoding_message_size(MESSAGE_BYTES_MAX)
        };
        PeerChannels {
            log: client(self.election_timeout, &outdated),
            control: client(self.election_timeout, &outdated),
            // This token is never cancelled: a snapshot in flight is sent to its end.
            bulk: client(self.election_timeout.max(BULK_SILENCE_MAX), &CancellationToken::new()),
            requests: client(self.election_timeout, &outdated),
            urls: urls.clone(),
            metrics: metrics.clone(),
            initiator,
            route: route.clone(),
            has_answered: has_answered.clone(),
            notice: notice.clone(),
            since: Instant::now(),
            outdated,
        }
    }
}
