//! Reverse connections of this member: it opened them, and serves the calls of other members.

use std::any::Any;
use std::sync::Arc;

use quorate_raft::{Connection, ServeReverse};

use super::accept::Acceptor;
use crate::config::url::Url;

/// Serves the reverse connections of this member as if they came in at its peer port.
pub(crate) struct ReverseServer {
    pub(super) acceptor: Acceptor,
    /// Whether this member's peer port takes connections without TLS.
    pub(super) is_plain: bool,
}

impl ServeReverse for ReverseServer {
    fn serve(&self, connection: Box<dyn Connection>, held: Box<dyn Any + Send>) {
        self.acceptor.serve_reverse(connection, held);
    }

    fn admits(&self, url: &str) -> bool {
        self.is_plain || Url::parse(url).is_ok_and(|url| url.scheme.is_secure())
    }
}

impl Acceptor {
    /// The server for the reverse connections of this member.
    pub(crate) fn reverse_server(&self, is_plain: bool) -> Arc<ReverseServer> {
        Arc::new(ReverseServer { acceptor: self.clone(), is_plain })
    }
}
