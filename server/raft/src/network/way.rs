//! How one member is reached: at its URLs or, when it is not there, over connections that it lends.

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

/// What is known of the URLs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direct {
    /// Nothing speaks against them.
    Open,
    /// There is no connection.
    Closed,
    /// Connections are made, and the member does not answer on them.
    Misleading,
}

/// The ways to one member, however often its connections are made anew.
pub(crate) struct Way {
    /// Of all connections to it.
    pub(crate) metrics: Arc<LinkMetrics>,
    pub(crate) reach: Reach,
    pub(crate) loans: Loans,
    known: Mutex<Known>,
}

struct Known {
    direct: Direct,
    /// The URL at which there was a connection last.
    url: Option<String>,
}

impl Way {
    /// Nothing is known of the member yet.
    pub(crate) fn new(member: u64, metrics: &PeerMetrics) -> Self {
        let known = Mutex::new(Known { direct: Direct::Open, url: None });
        let metrics = metrics.link(member);
        Self { metrics, reach: Reach::new(member), loans: Loans::new(), known }
    }

    /// Whose connections are to be used; none when the URLs are.
    pub(crate) fn lender(&self) -> Option<Lender> {
        if self.is_open() {
            return None;
        }
        self.loans.lender()
    }

    /// Whether nothing speaks against the URLs.
    pub(crate) fn is_open(&self) -> bool {
        self.known.lock().direct == Direct::Open
    }

    /// The URL that is to be tried first.
    pub(crate) fn url(&self) -> Option<String> {
        self.known.lock().url.clone()
    }

    /// The member itself answers at this URL.
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

/// One connection of a link, and those that follow it.
pub(crate) struct Line {
    pub(crate) way: Arc<Way>,
    /// Who lends the connection; none when it is made to a URL.
    pub(crate) lender: Option<Lender>,
    state: AtomicU8,
    /// Whether the member has answered on this link at all.
    spoken: Arc<AtomicBool>,
}

/// There is no connection.
const DOWN: u8 = 0;
/// There is one, and no answer yet.
const UP: u8 = 1;
/// The member has answered on it.
const HEARD: u8 = 2;

impl Line {
    pub(crate) fn new(way: Arc<Way>, lender: Option<Lender>, spoken: Arc<AtomicBool>) -> Self {
        Self { way, lender, state: AtomicU8::new(DOWN), spoken }
    }

    /// A connection is about to be made.
    pub(crate) fn connecting(&self) {
        if self.state.swap(DOWN, Ordering::Relaxed) == UP {
            self.misled();
        }
    }

    /// There is a connection to a URL, or one that was lent.
    pub(crate) fn connected(&self, url: Option<&str>) {
        self.state.store(UP, Ordering::Relaxed);
        match url {
            Some(url) => self.way.connected(url),
            None => self.way.reach.lent(),
        }
    }

    /// There is none.
    pub(crate) fn not_connected(&self, error: &io::Error) {
        match self.lender {
            None => self.way.not_connected(error),
            // It is there, and lends nothing any more.
            Some(lender) => self.way.loans.give_up(lender),
        }
    }

    /// Somebody answers. A call that is refused has its status in the headers.
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

    /// A call was not answered.
    pub(crate) fn broken(&self) {
        if self.state.load(Ordering::Relaxed) == UP {
            self.misled();
        }
    }

    /// Who answers, if anybody does, is not the member.
    fn misled(&self) {
        misled(&self.way, self.lender);
    }
}

/// Another way is to be tried than this one, on which the member never answers.
pub(crate) fn misled(way: &Way, lender: Option<Lender>) {
    match lender {
        None => way.misled(),
        Some(lender) => way.loans.give_up(lender),
    }
}

/// Waits until it makes sense to try another way than the URLs.
///
/// # Cancel safety
/// Nothing is lost when the future is dropped.
pub(crate) async fn outwaited(way: &Way, patience: Duration) {
    tokio::time::sleep(patience).await;
    way.loans.exist().await;
}
