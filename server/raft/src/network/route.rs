//! How one member is reached: at its URLs or, if it does not answer there, over reverse
//! connections.

use std::fmt::Debug;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::reach_log::ReachLog;
use super::reverse_pool::{Initiator, ReversePool};
use crate::metrics::peers::{ConnectionMetrics, PeerMetrics};

/// State of the member's URLs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum UrlState {
    /// No problem is known.
    Working,
    /// The last connection attempt failed.
    Unreachable,
    /// Connections open, but the member does not answer on them.
    Unanswered,
}

/// The route to one member; outlives its channels.
pub(crate) struct Route {
    /// The metrics of all connections to the member.
    pub(crate) metrics: Arc<ConnectionMetrics>,
    pub(crate) log: ReachLog,
    pub(crate) reverse: ReversePool,
    known: Mutex<Known>,
}

struct Known {
    state: UrlState,
    /// The URL that last accepted a connection.
    url: Option<String>,
}

impl Route {
    /// A route without known problems.
    pub(crate) fn new(member: u64, metrics: &PeerMetrics) -> Self {
        Self {
            metrics: metrics.connections(member),
            log: ReachLog::new(member),
            reverse: ReversePool::new(),
            known: Mutex::new(Known { state: UrlState::Working, url: None }),
        }
    }

    /// The initiator whose connections to use; `None` to use the URLs.
    pub(crate) fn initiator(&self) -> Option<Initiator> {
        if self.is_direct() {
            return None;
        }
        self.reverse.initiator()
    }

    /// Whether no problem with the URLs is known.
    pub(crate) fn is_direct(&self) -> bool {
        self.known.lock().state == UrlState::Working
    }

    /// The URL to try first.
    pub(crate) fn url(&self) -> Option<String> {
        self.known.lock().url.clone()
    }

    /// Records that the member itself answers at this URL.
    pub(crate) fn verified(&self, url: &str) {
        *self.known.lock() = Known { state: UrlState::Working, url: Some(url.to_owned()) };
        self.log.connected();
    }

    /// Records that this URL accepted a connection.
    pub(super) fn connected(&self, url: &str) {
        let mut known = self.known.lock();
        if known.state == UrlState::Unreachable {
            known.state = UrlState::Working;
        }
        known.url = Some(url.to_owned());
        drop(known);
        self.log.connected();
    }

    /// Records that no URL accepted a connection.
    pub(super) fn connect_failed(&self, error: &io::Error) {
        let mut known = self.known.lock();
        if known.state == UrlState::Working {
            known.state = UrlState::Unreachable;
        }
        drop(known);
        self.log.failed(error);
    }

    /// Records that the member answered a call at its URL.
    pub(super) fn answered(&self) {
        self.known.lock().state = UrlState::Working;
        self.log.connected();
    }

    /// Gives up connections on which the member never answers, so that another route is tried: the
    /// reverse connections of this initiator, or the URLs for `None`.
    pub(crate) fn abandon(&self, initiator: Option<Initiator>) {
        if let Some(initiator) = initiator {
            self.reverse.drop_initiator(initiator);
        } else {
            self.known.lock().state = UrlState::Unanswered;
            self.log.unanswered();
        }
    }

    /// Waits until reverse connections are worth trying: for `delay`, and until there are some.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub(crate) async fn alternative(&self, delay: Duration) {
        tokio::time::sleep(delay).await;
        self.reverse.available().await;
    }
}
