//! Binds the ports.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv6Addr, SocketAddr};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use socket2::SockRef;
use tokio::net::{TcpListener, TcpSocket, UnixListener};

use super::role::Role;
use crate::config::Ports;
use crate::config::url::{BindAddress, Url};

/// Length of the system's queue of connections that are not accepted yet.
const BACKLOG: u32 = 1024;

/// A port cannot be bound.
#[derive(Debug, thiserror::Error)]
#[error("--{flag}: cannot listen at {address}: {source}")]
pub(crate) struct BindError {
    flag: &'static str,
    address: String,
    source: io::Error,
}

pub(super) enum Socket {
    Tcp(TcpListener),
    Unix(UnixSocket),
}

/// A Unix socket. Dropping it removes its file.
pub(super) struct UnixSocket {
    pub(super) listener: UnixListener,
    path: PathBuf,
}

impl Drop for UnixSocket {
    /// Removes the file while the listener is still open, so that no other process can be listening
    /// at the path yet.
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

/// A bound port.
pub(crate) struct Port {
    pub(super) role: Role,
    pub(super) address: String,
    pub(super) socket: Socket,
    /// Whether the port takes connections without TLS.
    pub(super) plain: bool,
    /// Whether the port takes connections with TLS.
    pub(super) secure: bool,
}

/// Binds all ports. URLs that differ only in the scheme share a port.
///
/// # Errors
/// The first port that cannot be bound.
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
            // For port 0, the system has chosen a port.
            let address = match &socket {
                Socket::Tcp(listener) => listener.local_addr().map_err(failed)?.to_string(),
                Socket::Unix(_) => address.to_string(),
            };
            bound.push(Port { role, address, socket, plain, secure });
        }
    }
    Ok(bound)
}

/// The addresses to listen at. The pair says whether plain connections and whether TLS connections
/// are expected there.
fn by_address(urls: &[Url]) -> BTreeMap<BindAddress, (bool, bool)> {
    let mut addresses = BTreeMap::new();
    for url in urls {
        // The configuration check made sure that each URL has an address.
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
            // Made absolute, so that it still names the same file when it is removed.
            let path = std::path::absolute(path)?;
            Ok(Socket::Unix(UnixSocket { listener, path }))
        }
    }
}

/// Listens at a TCP address. An unspecified address means IPv4 and IPv6, as in Go's programs.
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
    // As in Go's programs: connections in TIME_WAIT do not prevent a restart.
    socket.set_reuseaddr(true)?;
    socket.set_reuseport(reuse_port)?;
    socket.bind(address)
}

/// Whether the error means that this machine has no IPv6, or has it disabled.
fn has_no_ipv6(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    matches!(errno, Some(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL | Errno::PROTONOSUPPORT))
}

/// Removes a socket that a dead process left behind. A file of another kind and a socket that
/// accepts connections stay.
fn remove_dead_socket(path: &Path) -> io::Result<()> {
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|m| m.file_type().is_socket());
    if is_socket && std::os::unix::net::UnixStream::connect(path).is_err() {
        std::fs::remove_file(path)?;
    }
    Ok(())
}

impl Port {
    /// The purpose of the port.
    pub(crate) fn role(&self) -> Role {
        self.role
    }

    /// Logs that this port is served from now on.
    pub(crate) fn announce(&self) {
        let address = self.address.as_str();
        let traffic = match self.role {
            Role::Clients => "grpc+http",
            Role::ClientsWithoutPages => "grpc",
            Role::Pages | Role::Metrics => "http",
            Role::Peers => "peers",
        };
        if self.secure {
            tracing::info!(traffic, address, "serving client traffic securely")
        } else {
            tracing::info!(traffic, address, "serving client traffic insecurely")
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
        assert!(!path.exists(), "the file must be removed with its port");
        // The standard library's listener leaves its file, as a killed process does.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        drop(listen(&address, false).unwrap());
        std::fs::write(&path, "precious").unwrap();
        assert!(listen(&address, false).is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"precious");
    }
}
