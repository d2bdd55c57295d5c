//! Accepts connections at the ports, and performs their TLS handshakes.

use std::any::Any;
use std::net::IpAddr;
use std::time::Duration;

use quorate_raft::Connection;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio_rustls::TlsAcceptor;

use super::bind::{Port, Socket};
use super::connections::Connections;
use super::http::{Http, Remote};
use super::places::Places;
use super::role::Role;
use super::tls::Certificates;
use crate::logging::RateLimit;
use crate::tls::{san, shown};

/// Idle time before the first TCP keepalive probe, and time between probes, as in etcd.
const TCP_KEEPALIVE: Duration = Duration::from_secs(30);
/// Pause after `accept` failed; most likely the process has too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// The first byte of a TLS connection: a handshake record.
const TLS_HANDSHAKE: u8 = 0x16;
/// Shortest time between two log lines about failed accepts.
const NOT_ACCEPTED_PAUSE: Duration = Duration::from_secs(1);

/// Shortest time between two log lines about rejected connections.
const REJECTED_PAUSE: Duration = Duration::from_secs(1);

static NOT_ACCEPTED: RateLimit = RateLimit::new(NOT_ACCEPTED_PAUSE);
static REJECTED: RateLimit = RateLimit::new(REJECTED_PAUSE);

/// The TCP keepalive settings, by which the system detects dead connections.
pub(crate) fn keepalive() -> TcpKeepalive {
    TcpKeepalive::new().with_time(TCP_KEEPALIVE).with_interval(TCP_KEEPALIVE)
}

/// Accepts connections.
#[derive(Clone)]
pub(crate) struct Acceptor {
    http: Http,
    tls: Certificates,
    places: Places,
    connections: Connections,
}

impl Acceptor {
    /// An acceptor whose connections `http` serves.
    pub(crate) fn new(http: Http, tls: Certificates, places: Places) -> Self {
        let connections = http.connections.clone();
        Self { http, tls, places, connections }
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

    fn tcp(&self, stream: TcpStream, address: IpAddr, port: &Port, place: OwnedSemaphorePermit) {
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
                match acceptor.connections.in_time(stream.peek(&mut first)).await {
                    Some(Ok(1)) => first[0] == TLS_HANDSHAKE,
                    _ => return,
                }
            } else {
                secure
            };
            acceptor.connection(stream, Some(address), is_tls, role).await;
            drop(place);
        });
    }

    /// Serves one connection until it ends. `address` is `None` for a Unix socket.
    async fn connection<I>(&self, io: I, address: Option<IpAddr>, secure: bool, role: Role)
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Some(tls) = self.tls.of(role).filter(|_| secure) else {
            return self
                .http
                .serve(io, Remote { address, certificate: None, is_secure: false }, role)
                .await;
        };
        let handshake = TlsAcceptor::from(tls.current()).accept(io);
        let io = match self.connections.in_time(handshake).await {
            Some(Ok(io)) => io,
            Some(Err(error)) => return reject(address, role, &error),
            None => return reject(address, role, &"the TLS handshake took too long"),
        };
        if let Some(address) = address
            && self.tls.verifies_san_at(role)
        {
            let presented = io.get_ref().1.peer_certificates();
            if let Err(error) = san::verify(presented, address).await {
                return reject(Some(address), role, &error);
            }
        }
        let certificate = shown(io.get_ref().1);
        self.http.serve(io, Remote { address, certificate, is_secure: true }, role).await;
    }

    /// Serves another member on a reverse connection. It takes no permit, because inbound
    /// connections must not prevent reverse connections. `held` is dropped when the connection
    /// ends.
    pub(super) fn serve_reverse(&self, connection: Box<dyn Connection>, held: Box<dyn Any + Send>) {
        let http = self.http.clone();
        let remote = Remote { address: None, certificate: None, is_secure: false };
        self.connections.tasks.spawn(async move {
            http.serve(connection, remote, Role::Peers).await;
            drop(held);
        });
    }
}

/// Logs a connection that was rejected before its first request: one in [`REJECTED_PAUSE`], and the
/// others at debug level.
fn reject(address: Option<IpAddr>, role: Role, error: &dyn std::fmt::Display) {
    let remote = address.map(|address| address.to_string());
    match REJECTED.allows() {
        Some(others) => {
            tracing::warn!(remote, port = ?role, %error, others, "rejected a connection");
        }
        None => tracing::debug!(remote, port = ?role, %error, "rejected a connection"),
    }
}
