//! Serves HTTP on a connection, and ends it when the program stops.

use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Either;
use hyper::body::Incoming as Body;
use hyper::rt::Executor;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use quorate_api::ApiService;
use quorate_raft::{Member, PeerPort};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::task::TaskTracker;

use super::batch::Batched;
use super::connections::{Connections, HANDSHAKE_TIMEOUT};
use super::incoming::{Incoming, Protocol, read_first};
use super::reverse_offer::{Slot, is_offer};
use super::role::Role;
use super::sockets::Sockets;
use super::traffic::{Asked, Received, Traffic, Unanswered};
use crate::config::Ports;
use crate::logging::RateLimit;
use crate::tls::common_name;

/// HTTP/2 windows: bytes that a client may send on a stream and on a connection before the member
/// has read any. Unread bytes are not in the memory budget, because they wait for room in it.
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 4 << 20;
/// HTTP/2 windows for other members.
const MEMBER_STREAM_WINDOW: u32 = 2 << 20;
const MEMBER_CONNECTION_WINDOW: u32 = 4 << 20;
/// Bytes that a stream buffers for a client that does not read. A larger message is still buffered
/// whole.
const SEND_BUFFER: usize = 64 << 10;
/// Streams that a client may have reset before the member has accepted them: more than fit into the
/// bytes of one turn. The library's default is 20, and clients cancel as many calls at once.
const RESETS_MAX: usize = 1 << 13;
/// Concurrent calls on one connection between members. They are calls about leases of clients, and
/// each waits for one answer. Further calls wait.
const MEMBER_STREAMS_MAX: u32 = 1 << 10;
/// Largest header list of a client's request, in bytes.
const HEADERS_MAX: u32 = 64 << 10;
/// Largest header list of another member's request, in bytes. Members send a few hundred bytes.
const MEMBER_HEADERS_MAX: u32 = 8 << 10;
/// Silence of another member after which it is pinged, and the time limit for its answer. The
/// answer may wait behind the rows of a snapshot that fill the window.
const MEMBER_PING_EVERY: Duration = Duration::from_secs(10);
const MEMBER_PING_WITHIN: Duration = Duration::from_secs(20);
/// How often a connection is checked for its end while the program stops.
const STOP_TICK: Duration = Duration::from_millis(250);
/// Ticks without a byte after which a client that does not take its answer is given up.
const SILENT_TICKS_MAX: u32 = 4;
/// Maximum number of ticks for a connection that has no answer under way.
const STOP_TICKS_MAX: u32 = 3;
/// Shortest time between two log lines about refused connections.
const BROKEN_PAUSE: Duration = Duration::from_secs(1);

static BROKEN: RateLimit = RateLimit::new(BROKEN_PAUSE);

/// Spawns the HTTP/2 library's tasks on the tracker, so that shutdown can wait for them.
#[derive(Clone)]
struct Tracked(TaskTracker);

impl<F> Executor<F> for Tracked
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, future: F) {
        self.0.spawn(future);
    }
}

/// The other end of a connection.
pub(super) struct Remote {
    /// `None` for a Unix socket and for a connection that this member has opened.
    pub(super) address: Option<IpAddr>,
    /// The verified certificate in DER that it has presented, if any.
    pub(super) certificate: Option<Bytes>,
    pub(super) is_secure: bool,
}

/// Serves HTTP on connections.
#[derive(Clone)]
pub(crate) struct Http {
    api: Arc<ApiService>,
    member: Arc<Member>,
    peers: PeerPort,
    http1: http1::Builder,
    http2: http2::Builder<Tracked>,
    pub(super) connections: Connections,
}

impl Http {
    /// HTTP with the settings for clients, on connections that are part of `connections`.
    pub(crate) fn new(
        api: Arc<ApiService>,
        member: Arc<Member>,
        ports: &Ports,
        connections: Connections,
    ) -> Self {
        let mut http1 = http1::Builder::new();
        http1.timer(TokioTimer::new()).header_read_timeout(HANDSHAKE_TIMEOUT);
        let mut http2 = http2::Builder::new(Tracked(connections.tasks.clone()));
        http2
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_send_buf_size(SEND_BUFFER)
            .max_header_list_size(HEADERS_MAX)
            .max_concurrent_streams(ports.max_concurrent_streams)
            .max_pending_accept_reset_streams(RESETS_MAX)
            .keep_alive_interval(ports.ping_interval)
            .keep_alive_timeout(ports.ping_timeout);
        let peers = member.peer_port();
        Self { api, member, peers, http1, http2, connections }
    }

    /// The same with the settings for members: the flags' limits and pings are for clients. The
    /// caller pings as well. Pings from here end the connections of a caller that is gone.
    pub(crate) fn for_members(mut self) -> Self {
        self.http2
            .initial_stream_window_size(MEMBER_STREAM_WINDOW)
            .initial_connection_window_size(MEMBER_CONNECTION_WINDOW)
            .max_header_list_size(MEMBER_HEADERS_MAX)
            .max_concurrent_streams(MEMBER_STREAMS_MAX)
            .keep_alive_interval(MEMBER_PING_EVERY)
            .keep_alive_timeout(MEMBER_PING_WITHIN);
        self
    }

    /// Serves a connection at a port of this role until it ends.
    pub(super) async fn serve<I>(&self, mut io: I, remote: Remote, role: Role)
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Remote { address, certificate, is_secure } = remote;
        let (protocol, first) = match self.connections.in_time(read_first(&mut io)).await {
            Some(Ok(first)) => first,
            Some(Err(error)) => return tracing::debug!(%error, "a connection ended"),
            None => {
                let remote = address;
                return tracing::debug!(?remote, port = ?role, "a client sent nothing in time");
            }
        };
        let is_proven = certificate.is_some();
        let caller = self.api.caller(certificate, |der| common_name(der), is_secure);
        let traffic = Arc::new(Traffic::default());
        let io = Incoming::new(io, protocol, first, traffic.clone(), caller.intake().clone());
        let io = TokioIo::new(io);
        let reverse = Slot::default();
        let sockets = Sockets::default();
        let peers = self.peers.for_connection();
        let service = service_fn(|mut request: hyper::Request<Body>| {
            let upgrade = sockets.upgrade(&mut request, role);
            let api = self.api.clone();
            let caller = caller.clone();
            let peers = peers.clone();
            let asked = Asked::new(&traffic);
            let unanswered = Unanswered::new(asked.clone());
            let request = if role == Role::Peers && is_offer(&request) {
                Err(reverse.answer(&self.member, request, is_proven))
            } else {
                Ok(request.map(|body| Received::new(body, asked)))
            };
            async move {
                let request = match request {
                    Ok(request) => request,
                    Err(answer) => {
                        return Ok(answer.map(|body| unanswered.answer(Either::Right(body))));
                    }
                };
                let mut answer = match role {
                    Role::Clients => api.serve(request, caller).await,
                    Role::ClientsWithoutPages => api.serve_grpc_alone(request, caller).await,
                    Role::Pages => Box::pin(api.serve_web(request, caller)).await,
                    Role::Metrics => api.serve_page(&request, &caller).await,
                    Role::Peers => {
                        let answer = peers.call(request).await;
                        return Ok(answer.map(|body| unanswered.answer(Either::Right(body))));
                    }
                };
                upgrade.keep(&mut answer);
                Ok::<_, Infallible>(answer.map(|body| unanswered.answer(Either::Left(body))))
            }
        });
        let ended = match protocol {
            Protocol::Http1 => {
                let connection = self.http1.serve_connection(io, service).with_upgrades();
                self.drive(connection, |connection| connection.graceful_shutdown(), &traffic).await
            }
            Protocol::Http2 => {
                let connection = self.http2.serve_connection(io, service);
                self.drive(connection, |connection| connection.graceful_shutdown(), &traffic).await
            }
        };
        match ended {
            Ok(()) => self.serve_upgraded::<I>(&reverse, &sockets, &traffic).await,
            Err(error) => broken(address, role, &error),
        }
    }

    /// Serves what a connection has become after an HTTP upgrade, if there was one.
    async fn serve_upgraded<I>(&self, reverse: &Slot, sockets: &Sockets, traffic: &Arc<Traffic>)
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        self.connections.stop.run_until_cancelled(reverse.hold::<I>()).await;
        let served = Box::pin(sockets.serve(traffic));
        if let Err(error) = self.drive(served, |_| (), traffic).await {
            tracing::debug!(%error, "a connection ended");
        }
    }

    /// Runs a connection until it ends, or until the program stops and the connection is settled.
    async fn drive<C>(
        &self,
        connection: C,
        graceful_shutdown: impl FnOnce(Pin<&mut C>),
        traffic: &Traffic,
    ) -> hyper::Result<()>
    where
        C: Future<Output = hyper::Result<()>>,
    {
        tokio::pin!(connection);
        tokio::select! {
            ended = Batched::new(connection.as_mut(), traffic) => return ended,
            () = self.connections.stop.cancelled() => {}
        }
        graceful_shutdown(connection.as_mut());
        tokio::select! {
            ended = Batched::new(connection, traffic) => ended,
            () = settled(traffic) => Ok(()),
        }
    }
}

/// Waits until a connection can be cut off without losing an answer. No complete request may be
/// waiting for its answer. Requests that are on their way get some ticks to arrive, and answers
/// under way are given up only if the client has not taken a byte for [`SILENT_TICKS_MAX`] ticks.
async fn settled(traffic: &Traffic) {
    let mut moved = traffic.moved();
    let mut silent = 0;
    for tick in 1.. {
        tokio::time::sleep(STOP_TICK).await;
        silent = if traffic.moved() == moved { silent + 1 } else { 0 };
        moved = traffic.moved();
        let is_over = if traffic.is_answering() {
            silent >= SILENT_TICKS_MAX
        } else {
            silent > 0 || tick >= STOP_TICKS_MAX
        };
        if is_over && !traffic.owes() {
            return;
        }
    }
}

/// Logs why a connection ended with an error: as a warning if the client violated the protocol,
/// else at debug level.
fn broken(address: Option<IpAddr>, role: Role, error: &hyper::Error) {
    let cause = std::error::Error::source(error);
    let http2 = cause.and_then(|cause| cause.downcast_ref::<h2::Error>());
    let is_refused = error.is_parse() || http2.is_some_and(|error| error.is_library());
    match is_refused.then(|| BROKEN.allows()).flatten() {
        Some(others) => {
            let remote = address.map(|address| address.to_string());
            let cause = cause.map(ToString::to_string);
            tracing::warn!(remote, port = ?role, %error, cause, others, "refused a connection");
        }
        None => tracing::debug!(%error, "a connection ended"),
    }
}
