//! Lent connections: this member opened them and serves what other members call over them.

use std::any::Any;
use std::sync::Arc;

use quorate_raft::{Connection, ServeReverse};

use super::accept::Acceptor;
use crate::config::url::Url;

/// Serves the connections that this member lends as if they came in at its peer port.
pub(crate) struct Lender {
    pub(super) acceptor: Acceptor,
    /// Whether this member's peer port takes connections without TLS.
    pub(super) is_plain: bool,
}

impl ServeReverse for Lender {
    fn serve(&self, connection: Box<dyn Connection>, held: Box<dyn Any + Send>) {
        self.acceptor.serve_lent(connection, held);
    }

    fn admits(&self, url: &str) -> bool {
        self.is_plain || Url::parse(url).is_ok_and(|url| url.scheme.is_secure())
    }
}

impl Acceptor {
    /// The server for the connections that this member lends.
    pub(crate) fn lender(&self, is_plain: bool) -> Arc<Lender> {
        Arc::new(Lender { acceptor: self.clone(), is_plain })
    }
}
