//! Serving what comes over the ports, and bringing it to an end.

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

/// Time that a client has to say hello, as in etcd.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Silence after which the system looks whether the client's machine still exists, as in etcd.
const TCP_KEEPALIVE: Duration = Duration::from_secs(30);
/// Pause after the system refused to give us a connection; most likely we have too many.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Bytes that a client may send on a stream and on a connection before we have read any. What we
/// have not read is not in the memory budget: it is what waits for room there.
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 4 << 20;
/// The same for another member.
const MEMBER_STREAM_WINDOW: u32 = 2 << 20;
const MEMBER_CONNECTION_WINDOW: u32 = 4 << 20;
/// Bytes that may wait on a stream for a client that does not read. A message that is larger is one
/// piece all the same.
const SEND_BUFFER: usize = 64 << 10;
/// Calls that a client may have taken back before we have looked at them: more than it can say in
/// one turn. The library's own limit is 20, as many as a client cancels at once.
const RESETS_MAX: usize = 1 << 13;
/// Calls that one member may have under way on one connection to another: leases of its clients,
/// each of which waits for one answer. More of them wait for their turn.
const MEMBER_STREAMS_MAX: u32 = 1 << 10;
/// Bytes of the headers of a request.
const HEADERS_MAX: u32 = 64 << 10;
/// The same for another member, which sends a few hundred.
const MEMBER_HEADERS_MAX: u32 = 8 << 10;
/// The first byte of a TLS connection: a handshake record.
const TLS_HANDSHAKE: u8 = 0x16;
/// How often it is looked whether a connection can end when the program stops.
const STOP_TICK: Duration = Duration::from_millis(250);
/// Of these, how many without a byte it takes until a client that is being answered is given up.
const SILENT_TICKS_MAX: u32 = 4;
/// And how many a connection gets at most that is owed nothing.
const STOP_TICKS_MAX: u32 = 3;
/// How often it is said that a connection ended because of what the client sent.
const BROKEN_PAUSE: Duration = Duration::from_secs(1);

static BROKEN: Seldom = Seldom::new(BROKEN_PAUSE);
static NOT_ACCEPTED: Seldom = Seldom::new(BROKEN_PAUSE);

/// How the system looks whether the other end of a connection still exists.
pub(crate) fn keepalive() -> TcpKeepalive {
    TcpKeepalive::new().with_time(TCP_KEEPALIVE).with_interval(TCP_KEEPALIVE)
}

/// Runs what belongs to connections where shutdown can wait for it.
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

/// What is known of who is at the other end of a connection.
#[derive(Clone, Copy)]
struct Caller {
    /// None over a socket in the file system, and where this member has opened the connection.
    remote: Option<IpAddr>,
    /// Whether it has shown a certificate.
    is_proven: bool,
}

/// Connections that end together.
#[derive(Clone, Default)]
pub(crate) struct Connections {
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Connections {
    /// Takes in no new connections, nor new requests on those that are there.
    pub(crate) fn close(&self) {
        self.stop.cancel();
        self.tasks.close();
    }

    /// Waits until those that were closed have ended, but no longer than `limit`.
    pub(crate) async fn drain(&self, limit: Duration) {
        if tokio::time::timeout(limit, self.tasks.wait()).await.is_err() {
            tracing::warn!(connections = self.tasks.len(), "connections do not end in time");
        }
    }
}

/// The server's side of TLS of all ports.
#[derive(Clone)]
pub(crate) struct Certificates {
    pub(crate) clients: Option<Arc<Tls<ServerConfig>>>,
    pub(crate) peers: Option<Arc<Tls<ServerConfig>>>,
    /// Whether peers must call from an address that their certificate is for.
    pub(crate) verifies_origin: bool,
}

impl Certificates {
    /// Reads the files.
    ///
    /// # Errors
    /// What is wrong with them.
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
    /// Serves what becomes part of `connections`.
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

    /// The same for members: the limits and pings that are set are for clients.
    pub(crate) fn for_members(mut self) -> Self {
        self.http2
            .initial_stream_window_size(MEMBER_STREAM_WINDOW)
            .initial_connection_window_size(MEMBER_CONNECTION_WINDOW)
            .max_header_list_size(MEMBER_HEADERS_MAX)
            .max_concurrent_streams(MEMBER_STREAMS_MAX)
            .keep_alive_interval(None);
        self
    }

    /// Begins to serve a port.
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
                    // A port of both families shows IPv4 in the form of IPv6.
                    self.tcp(stream, from.ip().to_canonical(), &port, place);
                }),
                Socket::Unix(socket) => socket.listener.accept().await.map(|(stream, _)| {
                    let (acceptor, secure, role) = (self.clone(), port.secure, port.role);
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
            // The client is gone already.
            tracing::debug!(%error, "cannot set up a connection");
            return;
        }
        // Not the port: it is closed when nobody is let in any more, whoever is still there.
        let (acceptor, plain, secure, role) = (self.clone(), port.plain, port.secure, port.role);
        self.connections.tasks.spawn(async move {
            let secure = match (plain, secure) {
                (true, true) => {
                    let mut first = [0];
                    match acceptor.in_time(stream.peek(&mut first)).await {
                        Some(Ok(1)) => first[0] == TLS_HANDSHAKE,
                        _ => return,
                    }
                }
                (_, secure) => secure,
            };
            acceptor.connection(stream, Some(remote), secure, role).await;
            drop(place);
        });
    }

    /// Waits for what a client has to say first. `None` when it took too long, or the program
    /// stops and it was not about to be said.
    async fn in_time<F: Future>(&self, said: F) -> Option<F::Output> {
        let too_late = async {
            let stop = &self.connections.stop;
            if stop.run_until_cancelled(tokio::time::sleep(HANDSHAKE_TIMEOUT)).await.is_none() {
                tokio::time::sleep(STOP_TICK).await;
            }
        };
        tokio::select! {
            biased;
            said = said => Some(said),
            () = too_late => None,
        }
    }

    /// Serves one connection until it ends. One over a socket in the file system is not remote.
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
            None => return reject(remote, role, &"it did not say hello in time"),
        };
        if let (Some(remote), true) = (remote, self.tls.verifies_origin_at(role)) {
            let shown = io.get_ref().1.peer_certificates();
            if let Err(error) = origin::verify(shown, remote).await {
                return reject(Some(remote), role, &error);
            }
        }
        let is_proven = io.get_ref().1.peer_certificates().is_some();
        self.http(io, Caller { remote, is_proven }, role).await;
    }

    /// Serves other members on a connection that this one has opened. It takes no place of those
    /// that come: they must not keep it from lending. What is `held` ends with it.
    pub(super) fn serve_lent(&self, connection: Box<dyn Connection>, held: Box<dyn Any + Send>) {
        let (acceptor, caller) = (self.clone(), Caller { remote: None, is_proven: false });
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
            None => return tracing::debug!(?remote, port = ?role, "a client that says nothing"),
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
            let (api, peers) = (self.api.clone(), peers.clone());
            let asked = Asked::new(&traffic);
            let waiting = Waiting::new(asked.clone());
            let request = match role == Role::Peers && is_offer(&request) {
                true => Err(lent.answer(&self.member, request, caller.is_proven)),
                false => Ok(request.map(|body| Received::new(body, asked))),
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

    /// Runs a connection until it ends, or the program stops and the client has what it is owed.
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

/// Waits until a connection that is to end can be cut off without a loss: its client could have
/// asked what it was about to ask, and has the answers to what it asked, or does not take them.
async fn settled(traffic: &Traffic) {
    let (mut moved, mut silent) = (traffic.moved(), 0);
    for tick in 1.. {
        tokio::time::sleep(STOP_TICK).await;
        silent = if traffic.moved() == moved { silent + 1 } else { 0 };
        moved = traffic.moved();
        let is_over = match traffic.is_answering() {
            true => silent >= SILENT_TICKS_MAX,
            false => silent > 0 || tick >= STOP_TICKS_MAX,
        };
        if is_over && !traffic.owes() {
            return;
        }
    }
}

/// Says why a connection ended that the client broke off, unless by going away.
fn broken(remote: Option<IpAddr>, role: Role, error: &hyper::Error) {
    let cause = std::error::Error::source(error);
    let http2 = cause.and_then(|cause| cause.downcast_ref::<h2::Error>());
    let is_refused = error.is_parse() || http2.is_some_and(|error| error.is_library());
    match is_refused.then(|| BROKEN.allows()).flatten() {
        Some(others) => {
            let (remote, cause) =
                (remote.map(|remote| remote.to_string()), cause.map(ToString::to_string));
            tracing::warn!(remote, port = ?role, %error, cause, others, "refused a connection");
        }
        None => tracing::debug!(%error, "a connection ended"),
    }
}

/// Lets tasks that are ready run before it goes on, if some of them may have to do with it.
///
/// tokio runs a task that another one woke before all others. Whoever answers a request wakes its
/// connection, which would therefore write each answer of a batch by itself; behind the others, it
/// writes all of them at once.
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
            // A task that wakes itself goes to the end of the queue.
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.traffic.begin_turn();
        Pin::new(&mut self.inner).poll(context)
    }
}

/// Says who is not let in, at which port, and why.
fn reject(remote: Option<IpAddr>, role: Role, error: &dyn std::fmt::Display) {
    let remote = remote.map(|remote| remote.to_string());
    tracing::warn!(remote, port = ?role, %error, "rejected a connection");
}
