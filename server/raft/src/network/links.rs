//! Connections to the other members.

use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use quorate_core::store::Shared;
use quorate_proto::peer::peer_client::PeerClient;
use quorate_storage::data_dir::Identity;
use tokio::sync::watch;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

use super::{Connection, Dial, header};
use crate::consensus::BoxFuture;
use crate::leadership::Peers;

/// Most bytes of a message: the largest request, a batch of entries of that size, and room.
pub(crate) const MESSAGE_BYTES_MAX: usize = 64 << 20;
/// Bytes that may be under way on a stream and a connection before they are read: about what a
/// fast network holds during a round trip.
const STREAM_WINDOW: u32 = 4 << 20;
const CONNECTION_WINDOW: u32 = 8 << 20;

/// A client of another member.
pub(crate) type Client = PeerClient<InterceptedService<Channel, Identify>>;

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

/// Tries the URLs of a member, one after the other, each time from the first one.
#[derive(Clone)]
struct Connector {
    dial: Arc<dyn Dial>,
    urls: Arc<[String]>,
}

impl tower_service::Service<Uri> for Connector {
    type Response = TokioIo<Box<dyn Connection>>;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Self::Response>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let Self { dial, urls } = self.clone();
        let connect = async move {
            let mut failed = io::Error::other("the member has no peer URL");
            for url in urls.iter() {
                match dial.dial(url.clone()).await {
                    Ok(connection) => return Ok(TokioIo::new(connection)),
                    Err(error) => failed = io::Error::new(error.kind(), format!("{url}: {error}")),
                }
            }
            Err(failed)
        };
        Pin::from(Box::new(connect))
    }
}

/// The connections to one member.
#[derive(Clone)]
pub(crate) struct Link {
    urls: Arc<[String]>,
    /// For entries of the log.
    pub(crate) log: Client,
    /// For what waits behind nothing.
    pub(crate) control: Client,
    /// For snapshots.
    pub(crate) bulk: Client,
    /// For what clients of one member ask of another one.
    pub(crate) requests: Client,
}

/// The connections of this member to all others.
pub(crate) struct Links {
    identity: Identity,
    dial: Arc<dyn Dial>,
    /// How long a connection may be silent before it is given up.
    patience: Duration,
    store: Arc<Shared>,
    peers: watch::Receiver<Peers>,
    links: Mutex<BTreeMap<u64, Link>>,
}

impl Links {
    /// Connections to the members in `peers`, whatever they are at the time.
    pub(crate) fn new(
        identity: Identity,
        dial: Arc<dyn Dial>,
        patience: Duration,
        store: Arc<Shared>,
        peers: watch::Receiver<Peers>,
    ) -> Self {
        Self { identity, dial, patience, store, peers, links: Mutex::default() }
    }

    /// This member.
    pub(crate) fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The connections to `member`; none when it is no member. When its URLs have changed they are
    /// new ones.
    pub(crate) fn to(&self, member: u64) -> Option<Link> {
        let peers = self.peers.borrow();
        let urls = &peers.get(&member)?.0.peer_urls;
        let mut links = self.links.lock();
        if let Some(link) = links.get(&member).filter(|link| *link.urls == **urls) {
            return Some(link.clone());
        }
        links.retain(|id, _| peers.contains_key(id));
        let link = self.connect(member, urls);
        links.insert(member, link.clone());
        Some(link)
    }

    fn connect(&self, member: u64, urls: &[String]) -> Link {
        let urls: Arc<[String]> = urls.into();
        let identify = Identify::new(&self.identity, member, self.store.clone());
        let client = || {
            let connector = Connector { dial: self.dial.clone(), urls: urls.clone() };
            let channel = endpoint(self.patience).connect_with_connector_lazy(connector);
            PeerClient::with_interceptor(channel, identify.clone())
                .max_decoding_message_size(MESSAGE_BYTES_MAX)
                .max_encoding_message_size(MESSAGE_BYTES_MAX)
        };
        Link {
            log: client(),
            control: client(),
            bulk: client(),
            requests: client(),
            urls: urls.clone(),
        }
    }
}

/// A client of a member of which only the URL is known, as before a cluster is joined.
pub(crate) fn stranger(dial: Arc<dyn Dial>, url: &str, patience: Duration) -> PeerClient<Channel> {
    let connector = Connector { dial, urls: [url.to_owned()].into() };
    PeerClient::new(endpoint(patience).connect_with_connector_lazy(connector))
}

fn endpoint(patience: Duration) -> Endpoint {
    // The connector knows where to go; the authority is of no meaning.
    Endpoint::from_static("http://member.invalid")
        .connect_timeout(patience)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .http2_keep_alive_interval(patience)
        .keep_alive_timeout(patience)
        .keep_alive_while_idle(true)
}
