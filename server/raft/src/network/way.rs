//! How one member is reached: at its URLs or, if it does not answer there, over connections that it
//! lends.

use std::fmt::Debug;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tonic::{Code, Status};

use super::loans::{Lender, Loans};
use super::reach::Reach;
use crate::metrics::peers::{LinkMetrics, PeerMetrics};

/// State of the member's URLs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direct {
    /// No problem is known.
    Open,
    /// The last connection attempt failed.
    Closed,
    /// Connections open, but the member does not answer on them.
    Misleading,
}

/// The ways to one member; outlives its links.
pub(crate) struct Way {
    /// For all connections to the member.
    pub(crate) metrics: Arc<LinkMetrics>,
    pub(crate) reach: Reach,
    pub(crate) loans: Loans,
    known: Mutex<Known>,
}

struct Known {
    direct: Direct,
    /// The URL that last accepted a connection.
    url: Option<String>,
}

impl Way {
    /// A way without known problems.
    pub(crate) fn new(member: u64, metrics: &PeerMetrics) -> Self {
        let known = Mutex::new(Known { direct: Direct::Open, url: None });
        let metrics = metrics.link(member);
        Self { metrics, reach: Reach::new(member), loans: Loans::new(), known }
    }

    /// The lender whose connections to use; `None` to use the URLs.
    pub(crate) fn lender(&self) -> Option<Lender> {
        if self.is_open() {
            return None;
        }
        self.loans.lender()
    }

    /// Whether no problem with the URLs is known.
    pub(crate) fn is_open(&self) -> bool {
        self.known.lock().direct == Direct::Open
    }

    /// The URL to try first.
    pub(crate) fn url(&self) -> Option<String> {
        self.known.lock().url.clone()
    }

    /// Notes that the member itself answers at this URL.
    pub(crate) fn opened(&self, url: &str) {
        let mut known = self.known.lock();
        *known = Known { direct: Direct::Open, url: Some(url.to_owned()) };
        drop(known);
        self.reach.connected();
    }

    fn connected(&self, url: &str) {
        let mut known = self.known.lock();
        if known.direct == Direct::Closed {
            known.direct = Direct::Open;
        }
        known.url = Some(url.to_owned());
        drop(known);
        self.reach.connected();
    }

    fn not_connected(&self, error: &io::Error) {
        let mut known = self.known.lock();
        if known.direct == Direct::Open {
            known.direct = Direct::Closed;
        }
        drop(known);
        self.reach.failed(error);
    }

    fn answered(&self) {
        self.known.lock().direct = Direct::Open;
        self.reach.connected();
    }

    fn misled(&self) {
        self.known.lock().direct = Direct::Misleading;
        self.reach.misled();
    }
}

/// One client of a link: its connection, and the later ones that replace it.
pub(crate) struct Line {
    pub(crate) way: Arc<Way>,
    /// The lender of the connection; `None` if it goes to a URL.
    pub(crate) lender: Option<Lender>,
    state: AtomicU8,
    /// Whether the member has answered on this link at all.
    spoken: Arc<AtomicBool>,
}

/// No connection.
const DOWN: u8 = 0;
/// A connection without an answer so far.
const UP: u8 = 1;
/// A connection on which the member has answered.
const HEARD: u8 = 2;

impl Line {
    pub(crate) fn new(way: Arc<Way>, lender: Option<Lender>, spoken: Arc<AtomicBool>) -> Self {
        Self { way, lender, state: AtomicU8::new(DOWN), spoken }
    }

    /// Notes that a connection attempt begins. If the last connection never had an answer, the way
    /// is misleading.
    pub(crate) fn connecting(&self) {
        if self.state.swap(DOWN, Ordering::Relaxed) == UP {
            self.misled();
        }
    }

    /// Notes that a connection is open: to this URL, or a lent one.
    pub(crate) fn connected(&self, url: Option<&str>) {
        self.state.store(UP, Ordering::Relaxed);
        match url {
            Some(url) => self.way.connected(url),
            None => self.way.reach.lent(),
        }
    }

    /// Notes that the connection attempt failed.
    pub(crate) fn not_connected(&self, error: &io::Error) {
        match self.lender {
            None => self.way.not_connected(error),
            // The lender has no connection any more.
            Some(lender) => self.way.loans.give_up(lender),
        }
    }

    /// Notes that the server has answered a call. A refused call has a `status`, from its headers.
    pub(crate) fn answered(&self, status: Option<&Status>, is_ok: bool) {
        self.way.reach.answered(status);
        let refuses = status.is_some_and(|status| {
            matches!(status.code(), Code::FailedPrecondition | Code::Unimplemented)
        });
        if is_ok && !refuses {
            let before = self.state.swap(HEARD, Ordering::Relaxed);
            self.spoken.store(true, Ordering::Relaxed);
            if before != HEARD && self.lender.is_none() {
                self.way.answered();
            }
        } else if self.state.load(Ordering::Relaxed) == UP {
            self.misled();
        }
    }

    /// Notes that a call failed without an answer.
    pub(crate) fn broken(&self) {
        if self.state.load(Ordering::Relaxed) == UP {
            self.misled();
        }
    }

    /// Notes that the server, if there is one, does not answer as the member.
    fn misled(&self) {
        misled(&self.way, self.lender);
    }
}

/// Abandons a way on which the member never answers, so that another is tried.
pub(crate) fn misled(way: &Way, lender: Option<Lender>) {
    match lender {
        None => way.misled(),
        Some(lender) => way.loans.give_up(lender),
    }
}

/// Waits until another way than the URLs is worth trying: after `patience`, if there is a lender.
///
/// # Cancel safety
/// Nothing is lost when the future is dropped.
pub(crate) async fn outwaited(way: &Way, patience: Duration) {
    tokio::time::sleep(patience).await;
    way.loans.exist().await;
}
