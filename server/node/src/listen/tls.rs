//! The certificates of the ports.

use std::sync::Arc;

use rustls::ServerConfig;

use super::role::Role;
use crate::config::{Config, ServerTls};
use crate::tls::{Tls, TlsError};

/// The server side of TLS for all ports.
#[derive(Clone)]
pub(crate) struct Certificates {
    pub(crate) clients: Option<Arc<Tls<ServerConfig>>>,
    pub(crate) peers: Option<Arc<Tls<ServerConfig>>>,
    /// Whether a peer's certificate must be for the address that the peer connects from.
    pub(crate) verifies_san: bool,
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
        Ok(Self { clients, peers, verifies_san: config.peer_tls.verifies_san })
    }

    pub(super) fn of(&self, role: Role) -> Option<&Tls<ServerConfig>> {
        match role {
            Role::Peers => self.peers.as_deref(),
            _ => self.clients.as_deref(),
        }
    }

    pub(super) fn verifies_san_at(&self, role: Role) -> bool {
        role == Role::Peers && self.verifies_san
    }
}
