//! Ports: binding them. What comes over them is served by `serve`.

mod authority;
mod frames;
mod huffman;
mod incoming;
mod lending;
mod places;
mod serve;
mod traffic;

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv6Addr, SocketAddr};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use socket2::SockRef;
use tokio::net::{TcpListener, TcpSocket, UnixListener};

use crate::config::Ports;
use crate::config::url::{BindAddress, Url};
pub(crate) use places::Places;
pub(crate) use serve::{Acceptor, Certificates, Connections, keepalive};

/// Connections that the system keeps while we do not accept them.
const BACKLOG: u32 = 1024;

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
    Unix(UnixSocket),
}

/// A socket in the file system. Its file goes with it.
struct UnixSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl Drop for UnixSocket {
    /// Removes the file while the listener is there: nobody else listens at its path yet.
    fn drop(&mut self) {
        match std::fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                let socket = self.path.display();
                tracing::warn!(%error, %socket, "cannot remove a socket's file");
            }
            _ => {}
        }
    }
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
        BindAddress::Tcp(address) => listen_tcp(*address, reuse_port).map(Socket::Tcp),
        BindAddress::Unix(path) => {
            remove_dead_socket(path)?;
            let listener = UnixListener::bind(path)?;
            // The path must mean the same file when it is removed.
            let path = std::path::absolute(path)?;
            Ok(Socket::Unix(UnixSocket { listener, path }))
        }
    }
}

/// Every address of this machine means those of both families, as in Go's programs.
fn listen_tcp(address: SocketAddr, reuse_port: bool) -> io::Result<TcpListener> {
    if !address.ip().is_unspecified() {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        return bind_tcp(&socket, address, reuse_port).and_then(|()| socket.listen(BACKLOG));
    }
    let both = || {
        let socket = TcpSocket::new_v6()?;
        SockRef::from(&socket).set_only_v6(false)?;
        let every = SocketAddr::from((Ipv6Addr::UNSPECIFIED, address.port()));
        bind_tcp(&socket, every, reuse_port)?;
        socket.listen(BACKLOG)
    };
    match both() {
        Err(error) if address.is_ipv4() && has_no_ipv6(&error) => {
            let socket = TcpSocket::new_v4()?;
            bind_tcp(&socket, address, reuse_port)?;
            socket.listen(BACKLOG)
        }
        result => result,
    }
}

fn bind_tcp(socket: &TcpSocket, address: SocketAddr, reuse_port: bool) -> io::Result<()> {
    // As in Go's programs: old connections that linger do not stop a restart.
    socket.set_reuseaddr(true)?;
    socket.set_reuseport(reuse_port)?;
    socket.bind(address)
}

/// Whether a machine that was built, or told, to do without IPv6 says so.
fn has_no_ipv6(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    matches!(errno, Some(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL | Errno::PROTONOSUPPORT))
}

/// Removes the socket that a process left when it ended; nothing else, and not one in use.
fn remove_dead_socket(path: &Path) -> io::Result<()> {
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|m| m.file_type().is_socket());
    if is_socket && std::os::unix::net::UnixStream::connect(path).is_err() {
        std::fs::remove_file(path)?;
    }
    Ok(())
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
        assert!(!path.exists(), "it goes with its port");
        // As a process leaves it that was killed.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        drop(listen(&address, false).unwrap());
        std::fs::write(&path, "precious").unwrap();
        assert!(listen(&address, false).is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"precious");
    }
}
