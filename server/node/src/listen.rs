//! Ports: binding them, accepting connections, serving what comes over them.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use http_body_util::Either;
use hyper::rt::Executor;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use quorate_api::ApiService;
use quorate_proto::peer::peer_server::PeerServer;
use quorate_raft::PeerService;
use rustls::ServerConfig;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixListener};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower_service::Service;

use crate::config::url::{BindAddress, Url};
use crate::config::{Config, Ports, ServerTls};
use crate::tls::{Tls, TlsError, origin};

/// Connections that the system keeps while we do not accept them.
const BACKLOG: u32 = 1024;
/// Time that a client has to say hello, as in etcd.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Silence after which the system looks whether the client's machine still exists, as in etcd.
const TCP_KEEPALIVE: Duration = Duration::from_secs(30);
/// Pause after the system refused to give us a connection; most likely we have too many.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Bytes that a client may send on a stream and on a connection before we have read any. Together
/// they bound what a connection takes of our memory; the largest request fits in.
const STREAM_WINDOW: u32 = 2 << 20;
const CONNECTION_WINDOW: u32 = 4 << 20;
/// Calls that one member may have under way on one connection to another.
const MEMBER_STREAMS_MAX: u32 = 1 << 14;
/// Bytes of the headers of a request.
const HEADERS_MAX: u32 = 64 << 10;
/// The first byte of a TLS connection: a handshake record.
const TLS_HANDSHAKE: u8 = 0x16;

/// What is served at a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// gRPC, and pages.
    Clients,
    /// gRPC alone, because the pages have a port of their own.
    ClientsWithoutPages,
    /// Pages for clients.
    Pages,
    /// Pages for those who watch over this member.
    Metrics,
    /// Other members.
    Peers,
}

/// Why a port cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("--{flag}: cannot listen at {address}: {source}")]
pub(crate) struct BindError {
    flag: &'static str,
    address: String,
    source: io::Error,
}

enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// A port that is bound.
pub(crate) struct Port {
    role: Role,
    address: String,
    socket: Socket,
    plain: bool,
    secure: bool,
}

/// Binds all ports. URLs that differ in the scheme alone share one.
///
/// # Errors
/// The first port that cannot be had.
pub(crate) fn bind(ports: &Ports) -> Result<Vec<Port>, BindError> {
    let clients = if ports.pages.is_empty() { Role::Clients } else { Role::ClientsWithoutPages };
    let groups = [
        ("listen-client-urls", clients, &ports.clients),
        ("listen-client-http-urls", Role::Pages, &ports.pages),
        ("listen-metrics-urls", Role::Metrics, &ports.metrics),
        ("listen-peer-urls", Role::Peers, &ports.peers),
    ];
    let mut bound = Vec::new();
    for (flag, role, urls) in groups {
        for (address, (plain, secure)) in by_address(urls) {
            let failed = |source| BindError { flag, address: address.to_string(), source };
            let socket = listen(&address, ports.reuse_port).map_err(failed)?;
            // With port 0, the system has chosen one.
            let address = match &socket {
                Socket::Tcp(listener) => listener.local_addr().map_err(failed)?.to_string(),
                Socket::Unix(_) => address.to_string(),
            };
            bound.push(Port { role, address, socket, plain, secure });
        }
    }
    Ok(bound)
}

/// Where to listen, with whether plain and whether encrypted connections are expected there.
fn by_address(urls: &[Url]) -> BTreeMap<BindAddress, (bool, bool)> {
    let mut addresses = BTreeMap::new();
    for url in urls {
        // The configuration was checked: each URL has an address.
        if let Ok(address) = url.bind_address() {
            let (plain, secure) = addresses.entry(address).or_insert((false, false));
            *plain |= !url.scheme.is_secure();
            *secure |= url.scheme.is_secure();
        }
    }
    addresses
}

fn listen(address: &BindAddress, reuse_port: bool) -> io::Result<Socket> {
    match address {
        BindAddress::Tcp(address) => {
            let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
            // As in Go's programs: old connections that linger do not stop a restart.
            socket.set_reuseaddr(true)?;
            socket.set_reuseport(reuse_port)?;
            socket.bind(*address)?;
            socket.listen(BACKLOG).map(Socket::Tcp)
        }
        BindAddress::Unix(path) => {
            remove_dead_socket(path)?;
            UnixListener::bind(path).map(Socket::Unix)
        }
    }
}

/// Removes the socket that a process left when it ended; nothing else, and not one in use.
fn remove_dead_socket(path: &Path) -> io::Result<()> {
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|m| m.file_type().is_socket());
    if is_socket && std::os::unix::net::UnixStream::connect(path).is_err() {
        std::fs::remove_file(path)?;
    }
    Ok(())
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
    peers: PeerServer<PeerService>,
    http: Builder<Tracked>,
    tls: Certificates,
    connections: Connections,
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
        peers: PeerServer<PeerService>,
        ports: &Ports,
        tls: Certificates,
        connections: Connections,
    ) -> Self {
        let mut http = Builder::new(Tracked(connections.tasks.clone()));
        http.http1().timer(TokioTimer::new()).header_read_timeout(HANDSHAKE_TIMEOUT);
        http.http2()
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_header_list_size(HEADERS_MAX)
            .max_concurrent_streams(ports.max_concurrent_streams)
            .keep_alive_interval(ports.ping_interval)
            .keep_alive_timeout(ports.ping_timeout);
        Self { api, peers, http, tls, connections }
    }

    /// The same for members: the limits and pings that are set are for clients.
    pub(crate) fn for_members(mut self) -> Self {
        self.http.http2().max_concurrent_streams(MEMBER_STREAMS_MAX).keep_alive_interval(None);
        self
    }

    /// Begins to serve a port.
    pub(crate) fn serve(&self, port: Port) {
        let acceptor = self.clone();
        self.connections.tasks.spawn(async move { acceptor.accept(port).await });
    }

    async fn accept(self, port: Port) {
        loop {
            let accepted = match &port.socket {
                Socket::Tcp(listener) => {
                    let accepted =
                        self.connections.stop.run_until_cancelled(listener.accept()).await;
                    accepted.map(|accepted| {
                        accepted.map(|(stream, from)| self.tcp(stream, from.ip(), &port))
                    })
                }
                Socket::Unix(listener) => {
                    let accepted =
                        self.connections.stop.run_until_cancelled(listener.accept()).await;
                    accepted.map(|accepted| {
                        accepted.map(|(stream, _)| {
                            let (acceptor, secure, role) = (self.clone(), port.secure, port.role);
                            self.connections.tasks.spawn(async move {
                                acceptor.connection(stream, None, secure, role).await;
                            });
                        })
                    })
                }
            };
            match accepted {
                None => return,
                Some(Ok(())) => {}
                Some(Err(error)) => {
                    tracing::warn!(%error, address = port.address, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn tcp(&self, stream: TcpStream, remote: IpAddr, port: &Port) {
        let keepalive = TcpKeepalive::new().with_time(TCP_KEEPALIVE).with_interval(TCP_KEEPALIVE);
        let set = stream
            .set_nodelay(true)
            .and_then(|()| SockRef::from(&stream).set_tcp_keepalive(&keepalive));
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
                    let peek = tokio::time::timeout(HANDSHAKE_TIMEOUT, stream.peek(&mut first));
                    match peek.await {
                        Ok(Ok(1)) => first[0] == TLS_HANDSHAKE,
                        _ => return,
                    }
                }
                (_, secure) => secure,
            };
            acceptor.connection(stream, Some(remote), secure, role).await;
        });
    }

    /// Serves one connection until it ends. One over a socket in the file system is not remote.
    async fn connection<I>(&self, io: I, remote: Option<IpAddr>, secure: bool, role: Role)
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Some(tls) = self.tls.of(role).filter(|_| secure) else {
            return self.http(io, role).await;
        };
        let handshake = TlsAcceptor::from(tls.current()).accept(io);
        let io = match tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake).await {
            Ok(Ok(io)) => io,
            Ok(Err(error)) => return reject(remote, role, &error),
            Err(_) => return reject(remote, role, &"it did not say hello in time"),
        };
        if let (Some(remote), true) = (remote, self.tls.verifies_origin_at(role)) {
            let shown = io.get_ref().1.peer_certificates();
            if let Err(error) = origin::verify(shown, remote).await {
                return reject(Some(remote), role, &error);
            }
        }
        self.http(io, role).await;
    }

    async fn http<I>(&self, io: I, role: Role)
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let open = Arc::new(AtomicUsize::new(0));
        let account = self.api.account();
        let service = service_fn(|mut request: hyper::Request<hyper::body::Incoming>| {
            request.extensions_mut().insert(account.clone());
            let (api, mut peers) = (self.api.clone(), self.peers.clone());
            let asked = Asked::new(&open);
            async move {
                let _asked = asked;
                let answer = match role {
                    Role::Clients => api.serve(request).await,
                    Role::ClientsWithoutPages => api.serve_grpc_alone(request).await,
                    Role::Pages | Role::Metrics => {
                        api.serve_page(request.method(), request.uri()).await
                    }
                    Role::Peers => {
                        return peers.call(request).await.map(|answer| answer.map(Either::Right));
                    }
                };
                Ok::<_, Infallible>(answer.map(Either::Left))
            }
        });
        let connection = self.http.serve_connection(TokioIo::new(io), service);
        tokio::pin!(connection);
        let ended = tokio::select! {
            ended = Batched::new(connection.as_mut(), &open) => ended,
            () = self.connections.stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(error, "a connection ended");
        }
    }
}

/// A request that is not answered yet.
struct Asked(Arc<AtomicUsize>);

impl Asked {
    fn new(open: &Arc<AtomicUsize>) -> Self {
        open.fetch_add(1, Ordering::Relaxed);
        Self(open.clone())
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Lets tasks that are ready run before it goes on, if some of them may have to do with it.
///
/// tokio runs a task that another one woke before all others. Whoever answers a request wakes its
/// connection, which would therefore write each answer of a batch by itself; behind the others, it
/// writes all of them at once.
struct Batched<'a, F> {
    inner: F,
    /// Requests that are not answered yet.
    open: &'a AtomicUsize,
    waited: bool,
}

impl<'a, F> Batched<'a, F> {
    fn new(inner: F, open: &'a AtomicUsize) -> Self {
        Self { inner, open, waited: false }
    }
}

impl<F: Future + Unpin> Future for Batched<'_, F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        self.waited = !self.waited && self.open.load(Ordering::Relaxed) > 0;
        if self.waited {
            // A task that wakes itself goes to the end of the queue.
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        Pin::new(&mut self.inner).poll(context)
    }
}

impl Port {
    /// What is served here.
    pub(crate) fn role(&self) -> Role {
        self.role
    }

    /// Tells the log that this port is served from now on.
    pub(crate) fn announce(&self) {
        let address = self.address.as_str();
        let traffic = match self.role {
            Role::Clients => "grpc+http",
            Role::ClientsWithoutPages => "grpc",
            Role::Pages | Role::Metrics => "http",
            Role::Peers => "peers",
        };
        match self.secure {
            true => tracing::info!(traffic, address, "serving client traffic securely"),
            false => tracing::info!(traffic, address, "serving client traffic insecurely"),
        }
    }
}

/// Says who is not let in, at which port, and why.
fn reject(remote: Option<IpAddr>, role: Role, error: &dyn std::fmt::Display) {
    let remote = remote.map(|remote| remote.to_string());
    tracing::warn!(remote, port = ?role, %error, "rejected a connection");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_that_differ_in_the_scheme_share_a_port() {
        let urls =
            Url::parse_list("http://127.0.0.1:1,https://127.0.0.1:1,https://[::1]:1").unwrap();
        let found: Vec<_> = by_address(&urls)
            .into_iter()
            .map(|(address, how)| (address.to_string(), how))
            .collect();
        let expected =
            [("127.0.0.1:1".to_owned(), (true, true)), ("[::1]:1".to_owned(), (false, true))];
        assert_eq!(found, expected);
    }

    #[tokio::test]
    async fn only_dead_sockets_are_replaced() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("socket");
        let address = BindAddress::Unix(path.clone());
        let living = listen(&address, false).unwrap();
        assert!(listen(&address, false).is_err());
        drop(living);
        drop(listen(&address, false).unwrap());
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "precious").unwrap();
        assert!(listen(&address, false).is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"precious");
    }
}
