//! Reports the connections of one channel to the member's route.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use tonic::{Code, Status};

use super::reverse_pool::Initiator;
use super::route::Route;

/// No connection.
const DOWN: u8 = 0;
/// A connection without an answer so far.
const UP: u8 = 1;
/// A connection on which the member has answered.
const ANSWERED: u8 = 2;

/// The state of one channel: of its connection, and of the later ones that replace it.
pub(crate) struct ChannelState {
    pub(crate) route: Arc<Route>,
    /// The initiator of the reverse connections; `None` if the channel goes to a URL.
    pub(crate) initiator: Option<Initiator>,
    connection: AtomicU8,
    /// Whether the member has answered on any of its channels.
    has_answered: Arc<AtomicBool>,
}

impl ChannelState {
    pub(crate) fn new(
        route: Arc<Route>,
        initiator: Option<Initiator>,
        has_answered: Arc<AtomicBool>,
    ) -> Self {
        Self { route, initiator, connection: AtomicU8::new(DOWN), has_answered }
    }

    /// Records that a connection attempt begins. If the last connection never had an answer,
    /// another route is tried.
    pub(crate) fn connecting(&self) {
        if self.connection.swap(DOWN, Ordering::Relaxed) == UP {
            self.abandon();
        }
    }

    /// Records that a connection is open: to this URL, or a reverse connection.
    pub(crate) fn connected(&self, url: Option<&str>) {
        self.connection.store(UP, Ordering::Relaxed);
        match url {
            Some(url) => self.route.connected(url),
            None => self.route.log.reversed(),
        }
    }

    /// Records that the connection attempt failed.
    pub(crate) fn connect_failed(&self, error: &io::Error) {
        match self.initiator {
            None => self.route.connect_failed(error),
            // The initiator has no connection left.
            Some(initiator) => self.route.reverse.drop_initiator(initiator),
        }
    }

    /// Records that the server has answered a call. A refused call has a `status`, from its
    /// headers.
    pub(crate) fn answered(&self, status: Option<&Status>, is_ok: bool) {
        self.route.log.answered(status);
        let refuses = status.is_some_and(|status| {
            matches!(status.code(), Code::FailedPrecondition | Code::Unimplemented)
        });
        if is_ok && !refuses {
            let before = self.connection.swap(ANSWERED, Ordering::Relaxed);
            self.has_answered.store(true, Ordering::Relaxed);
            if before != ANSWERED && self.initiator.is_none() {
                self.route.answered();
            }
        } else if self.connection.load(Ordering::Relaxed) == UP {
            self.abandon();
        }
    }

    /// Records that a call failed without an answer.
    pub(crate) fn broken(&self) {
        if self.connection.load(Ordering::Relaxed) == UP {
            self.abandon();
        }
    }

    fn abandon(&self) {
        self.route.abandon(self.initiator);
    }
}
