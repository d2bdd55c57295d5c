//! Accepts connections at the ports, serves them, and ends them when the program stops.

use std::any::Any;
use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use http_body_util::Either;
use hyper::body::Incoming as Body;
use hyper::rt::Executor;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use quorate_api::{ApiService, Intake};
use quorate_raft::{Connection, Member, PeerPort};
use rustls::ServerConfig;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::incoming::{Incoming, Protocol, hear};
use super::lending::{Slot, is_offer};
use super::places::Places;
use super::traffic::{Asked, Received, Traffic, Waiting};
use super::{Port, Role, Socket};
use crate::config::{Config, Ports, ServerTls};
use crate::logging::Seldom;
use crate::tls::{Tls, TlsError, origin};

/// Time limit for the TLS handshake and for a client's first bytes, as in etcd.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Idle time before the first TCP keepalive probe, and time between probes, as in etcd.
const TCP_KEEPALIVE: Duration = Duration::from_secs(30);
/// Pause after `accept` failed; most likely the process has too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
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
/// The first byte of a TLS connection: a handshake record.
const TLS_HANDSHAKE: u8 = 0x16;
/// How often a connection is checked for its end while the program stops.
const STOP_TICK: Duration = Duration::from_millis(250);
/// Ticks without a byte after which a client that does not take its answer is given up.
const SILENT_TICKS_MAX: u32 = 4;
/// Most ticks for a connection that has no answer under way.
const STOP_TICKS_MAX: u32 = 3;
/// Shortest time between two log lines about refused connections, and about failed accepts.
const BROKEN_PAUSE: Duration = Duration::from_secs(1);

static BROKEN: Seldom = Seldom::new(BROKEN_PAUSE);
static NOT_ACCEPTED: Seldom = Seldom::new(BROKEN_PAUSE);

/// The TCP keepalive settings, by which the system detects dead connections.
pub(crate) fn keepalive() -> TcpKeepalive {
    TcpKeepalive::new().with_time(TCP_KEEPALIVE).with_interval(TCP_KEEPALIVE)
}

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

/// Serves connections.
#[derive(Clone)]
pub(crate) struct Acceptor {
    api: Arc<ApiService>,
    member: Arc<Member>,
    peers: PeerPort,
    http1: http1::Builder,
    http2: http2::Builder<Tracked>,
    tls: Certificates,
    places: Places,
    connections: Connections,
}

/// The peer of a connection.
#[derive(Clone, Copy)]
struct Caller {
    /// `None` for a Unix socket and for a connection that this member has opened.
    remote: Option<IpAddr>,
    /// Whether the peer has presented a certificate.
    is_proven: bool,
}

/// A group of connections that are closed together. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct Connections {
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Connections {
    /// Refuses new connections, and new requests on existing ones.
    pub(crate) fn close(&self) {
        self.stop.cancel();
        self.tasks.close();
    }

    /// Waits until the closed connections have ended, but no longer than `limit`.
    pub(crate) async fn drain(&self, limit: Duration) {
        if tokio::time::timeout(limit, self.tasks.wait()).await.is_err() {
            tracing::warn!(connections = self.tasks.len(), "connections did not end in time");
        }
    }
}

/// The server side of TLS for all ports.
#[derive(Clone)]
pub(crate) struct Certificates {
    pub(crate) clients: Option<Arc<Tls<ServerConfig>>>,
    pub(crate) peers: Option<Arc<Tls<ServerConfig>>>,
    /// Whether a peer's certificate must be for the address that the peer connects from.
    pub(crate) verifies_origin: bool,
}

impl Certificates {
    /// Reads the certificate files.
    ///
    /// # Errors
    /// A file cannot be read or used.
    pub(crate) fn new(config: &Config) -> Result<Self, TlsError> {
        let read = |files: Option<ServerTls>| files.map(Tls::server).transpose();
        let clients = read(config.tls.clone())?.map(Arc::new);
        let peers = read(config.peer_tls.server.clone())?.map(Arc::new);
        Ok(Self { clients, peers, verifies_origin: config.peer_tls.verifies_origin })
    }

    fn of(&self, role: Role) -> Option<&Tls<ServerConfig>> {
        match role {
            Role::Peers => self.peers.as_deref(),
            _ => self.clients.as_deref(),
        }
    }

    fn verifies_origin_at(&self, role: Role) -> bool {
        role == Role::Peers && self.verifies_origin
    }
}

impl Acceptor {
    /// An acceptor with the settings for clients. Its connections become part of `connections`.
    pub(crate) fn new(
        api: Arc<ApiService>,
        member: Arc<Member>,
        ports: &Ports,
        tls: Certificates,
        places: Places,
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
        Self { api, member, peers, http1, http2, tls, places, connections }
    }

    /// The same acceptor with the settings for members: the flags' limits and pings are for
    /// clients.
    pub(crate) fn for_members(mut self) -> Self {
        self.http2
            .initial_stream_window_size(MEMBER_STREAM_WINDOW)
            .initial_connection_window_size(MEMBER_CONNECTION_WINDOW)
            .max_header_list_size(MEMBER_HEADERS_MAX)
            .max_concurrent_streams(MEMBER_STREAMS_MAX)
            .keep_alive_interval(None);
        self
    }

    /// Starts a task that serves the port until the connections are closed.
    pub(crate) fn serve(&self, port: Port) {
        let acceptor = self.clone();
        let stop = self.connections.stop.clone();
        self.connections.tasks.spawn(async move {
            stop.run_until_cancelled(acceptor.accept(port)).await;
        });
    }

    async fn accept(self, port: Port) {
        while let Some(place) = self.places.take(port.role).await {
            let accepted = match &port.socket {
                Socket::Tcp(listener) => listener.accept().await.map(|(stream, from)| {
                    // A dual-stack socket reports IPv4 addresses as IPv4-mapped IPv6 ones.
                    self.tcp(stream, from.ip().to_canonical(), &port, place);
                }),
                Socket::Unix(socket) => socket.listener.accept().await.map(|(stream, _)| {
                    let acceptor = self.clone();
                    let secure = port.secure;
                    let role = port.role;
                    self.connections.tasks.spawn(async move {
                        acceptor.connection(stream, None, secure, role).await;
                        drop(place);
                    });
                }),
            };
            if let Err(error) = accepted {
                if let Some(others) = NOT_ACCEPTED.allows() {
                    let address = port.address.as_str();
                    tracing::warn!(%error, address, others, "cannot accept a connection");
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }

    fn tcp(&self, stream: TcpStream, remote: IpAddr, port: &Port, place: OwnedSemaphorePermit) {
        let set = stream
            .set_nodelay(true)
            .and_then(|()| SockRef::from(&stream).set_tcp_keepalive(&keepalive()));
        if let Err(error) = set {
            // The client has closed the connection already.
            tracing::debug!(%error, "cannot set up a connection");
            return;
        }
        // The task does not keep the port itself, which must close when accepting ends, even while
        // connections go on.
        let acceptor = self.clone();
        let plain = port.plain;
        let secure = port.secure;
        let role = port.role;
        self.connections.tasks.spawn(async move {
            let is_tls = if plain && secure {
                let mut first = [0];
                match acceptor.in_time(stream.peek(&mut first)).await {
                    Some(Ok(1)) => first[0] == TLS_HANDSHAKE,
                    _ => return,
                }
            } else {
                secure
            };
            acceptor.connection(stream, Some(remote), is_tls, role).await;
            drop(place);
        });
    }

    /// Waits for a client's first bytes or handshake. Returns `None` after [`HANDSHAKE_TIMEOUT`],
    /// or [`STOP_TICK`] after the program began to stop.
    async fn in_time<F: Future>(&self, first: F) -> Option<F::Output> {
        let too_late = async {
            let stop = &self.connections.stop;
            if stop.run_until_cancelled(tokio::time::sleep(HANDSHAKE_TIMEOUT)).await.is_none() {
                tokio::time::sleep(STOP_TICK).await;
            }
        };
        tokio::select! {
            biased;
            first = first => Some(first),
            () = too_late => None,
        }
    }

    /// Serves one connection until it ends. `remote` is `None` for a Unix socket.
    async fn connection<I>(&self, io: I, remote: Option<IpAddr>, secure: bool, role: Role)
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Some(tls) = self.tls.of(role).filter(|_| secure) else {
            return self.http(io, Caller { remote, is_proven: false }, role).await;
        };
        let handshake = TlsAcceptor::from(tls.current()).accept(io);
        let io = match self.in_time(handshake).await {
            Some(Ok(io)) => io,
            Some(Err(error)) => return reject(remote, role, &error),
            None => return reject(remote, role, &"the TLS handshake took too long"),
        };
        if let Some(remote) = remote
            && self.tls.verifies_origin_at(role)
        {
            let presented = io.get_ref().1.peer_certificates();
            if let Err(error) = origin::verify(presented, remote).await {
                return reject(Some(remote), role, &error);
            }
        }
        let is_proven = io.get_ref().1.peer_certificates().is_some();
        self.http(io, Caller { remote, is_proven }, role).await;
    }

    /// Serves another member on a connection that this member has opened and lent. It takes no
    /// permit, because inbound connections must not prevent lending. `held` is dropped when the
    /// connection ends.
    pub(super) fn serve_lent(&self, connection: Box<dyn Connection>, held: Box<dyn Any + Send>) {
        let acceptor = self.clone();
        let caller = Caller { remote: None, is_proven: false };
        self.connections.tasks.spawn(async move {
            acceptor.http(connection, caller, Role::Peers).await;
            drop(held);
        });
    }

    async fn http<I>(&self, mut io: I, caller: Caller, role: Role)
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let remote = caller.remote;
        let (protocol, said) = match self.in_time(hear(&mut io)).await {
            Some(Ok(heard)) => heard,
            Some(Err(error)) => return tracing::debug!(%error, "a connection ended"),
            None => return tracing::debug!(?remote, port = ?role, "a client sends nothing"),
        };
        let traffic = Arc::new(Traffic::default());
        let intake = Intake::default();
        let io = Incoming::new(io, protocol, said, traffic.clone(), intake.clone());
        let io = TokioIo::new(io);
        let account = self.api.account();
        let lent = Slot::default();
        let peers = self.peers.for_connection();
        let service = service_fn(|mut request: hyper::Request<Body>| {
            request.extensions_mut().insert(account.clone());
            request.extensions_mut().insert(intake.clone());
            let api = self.api.clone();
            let peers = peers.clone();
            let asked = Asked::new(&traffic);
            let waiting = Waiting::new(asked.clone());
            let request = if role == Role::Peers && is_offer(&request) {
                Err(lent.answer(&self.member, request, caller.is_proven))
            } else {
                Ok(request.map(|body| Received::new(body, asked)))
            };
            async move {
                let request = match request {
                    Ok(request) => request,
                    Err(answer) => {
                        return Ok(answer.map(|body| waiting.answer(Either::Right(body))));
                    }
                };
                let answer = match role {
                    Role::Clients => api.serve(request).await,
                    Role::ClientsWithoutPages => api.serve_grpc_alone(request).await,
                    Role::Pages | Role::Metrics => {
                        api.serve_page(request.method(), request.uri()).await
                    }
                    Role::Peers => {
                        let answer = peers.call(request).await;
                        return Ok(answer.map(|body| waiting.answer(Either::Right(body))));
                    }
                };
                Ok::<_, Infallible>(answer.map(|body| waiting.answer(Either::Left(body))))
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
            Ok(()) => {
                self.connections.stop.run_until_cancelled(lent.keep::<I>()).await;
            }
            Err(error) => broken(remote, role, &error),
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
fn broken(remote: Option<IpAddr>, role: Role, error: &hyper::Error) {
    let cause = std::error::Error::source(error);
    let http2 = cause.and_then(|cause| cause.downcast_ref::<h2::Error>());
    let is_refused = error.is_parse() || http2.is_some_and(|error| error.is_library());
    match is_refused.then(|| BROKEN.allows()).flatten() {
        Some(others) => {
            let remote = remote.map(|remote| remote.to_string());
            let cause = cause.map(ToString::to_string);
            tracing::warn!(remote, port = ?role, %error, cause, others, "refused a connection");
        }
        None => tracing::debug!(%error, "a connection ended"),
    }
}

/// Polls a connection only after the other ready tasks have run, while it has open requests.
///
/// tokio runs a task that was just woken by another task before all others. A task that answers a
/// request wakes the request's connection, which would therefore write every answer of a batch by
/// itself. Queued behind the other tasks, the connection writes all answers at once.
struct Batched<'a, F> {
    inner: F,
    traffic: &'a Traffic,
    waited: bool,
}

impl<'a, F> Batched<'a, F> {
    fn new(inner: F, traffic: &'a Traffic) -> Self {
        Self { inner, traffic, waited: false }
    }
}

impl<F: Future + Unpin> Future for Batched<'_, F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        self.waited = !self.waited && self.traffic.open.load(Ordering::Relaxed) > 0;
        if self.waited {
            // tokio moves a task that wakes itself to the end of the queue.
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.traffic.begin_turn();
        Pin::new(&mut self.inner).poll(context)
    }
}

/// Logs a connection that was rejected before its first request.
fn reject(remote: Option<IpAddr>, role: Role, error: &dyn std::fmt::Display) {
    let remote = remote.map(|remote| remote.to_string());
    tracing::warn!(remote, port = ?role, %error, "rejected a connection");
}
