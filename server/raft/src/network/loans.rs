//! Connections that another member has lent: this member calls it over them if it cannot be reached
//! at its URLs.
//!
//! A loan begins as an HTTP/1.1 upgrade request. After that, the borrower sends single bytes:
//! [`KEPT`] at intervals, which the lender answers, and once [`TAKEN`]. From then on the connection
//! is like one that the borrower has opened.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

use crate::ground::connection::Connection;

/// Bytes that the borrower sends: it keeps the connection for later, or takes it now.
pub(crate) const KEPT: u8 = 0;
pub(crate) const TAKEN: u8 = 1;
/// Interval of [`KEPT`] on a kept connection, and the time limit for the answer.
pub(crate) const SAID_EVERY: Duration = Duration::from_secs(1);
pub(crate) const SAID_WITHIN: Duration = Duration::from_secs(2);
/// Shortest interval between two tries of a member's URLs that new lenders cause, and the time
/// limit of each try.
pub(crate) const TRIED_EVERY: Duration = Duration::from_secs(1);
/// Most connections kept from one lender, and most lenders in the name of one member.
const KEPT_MAX: usize = 2;
const LENDERS_MAX: usize = 8;

/// A process that lends connections in the name of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lender {
    serial: u64,
    /// Whether it has shown a certificate.
    pub(crate) is_proven: bool,
}

/// A request for a kept connection.
type Want = oneshot::Sender<Taken>;

struct Known {
    lender: Lender,
    /// The number in its headers, the same as long as its process runs.
    number: u64,
    /// Number of its connections, kept or taken.
    open: usize,
    kept: VecDeque<oneshot::Sender<Want>>,
}

/// All lenders in the name of one member: the member itself and, at a port without TLS, anyone who
/// claims to be it. The first lender is used as long as it has connections and answers on them, so
/// a later one cannot displace it.
pub(crate) struct Loans {
    /// In order of arrival, but lenders with a certificate come first.
    known: Mutex<Vec<Known>>,
    serials: AtomicU64,
    /// Signalled at every change.
    changed: watch::Sender<()>,
    /// When a new lender last caused a try of the member's URLs.
    tried: Mutex<Option<Instant>>,
}

impl Loans {
    pub(crate) fn new() -> Self {
        let (known, serials) = (Mutex::default(), AtomicU64::new(0));
        Self { known, serials, changed: watch::Sender::new(()), tried: Mutex::default() }
    }

    /// The lender whose connections to use; `None` if there is no lender.
    pub(crate) fn lender(&self) -> Option<Lender> {
        self.known.lock().first().map(|known| known.lender)
    }

    /// Waits until there is a lender.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub(crate) async fn exist(&self) {
        let mut changed = self.changed.subscribe();
        while self.lender().is_none() && changed.changed().await.is_ok() {}
    }

    /// Drops a lender that does not answer as the member. If it lends again, it comes last.
    pub(crate) fn give_up(&self, lender: Lender) {
        self.known.lock().retain(|known| known.lender != lender);
        // Wakes calls of `take` that wait for this lender.
        self.changed.send_replace(());
    }

    /// Waits for a connection of this lender; `None` if the lender is gone.
    ///
    /// # Cancel safety
    /// Dropping the future may close one kept connection.
    pub(crate) async fn take(&self, lender: Lender) -> Option<Taken> {
        let mut changed = self.changed.subscribe();
        loop {
            let kept = {
                let mut known = self.known.lock();
                known.iter_mut().find(|known| known.lender == lender)?.kept.pop_front()
            };
            let Some(kept) = kept else {
                changed.changed().await.ok()?;
                continue;
            };
            let (want, taken) = oneshot::channel();
            if kept.send(want).is_ok()
                && let Ok(connection) = taken.await
            {
                return Some(connection);
            }
        }
    }

    pub(crate) fn knows(&self, number: u64) -> bool {
        self.known.lock().iter().any(|known| known.number == number)
    }

    /// Whether to try the member's URLs because of a new lender, and notes the try. At most once
    /// per [`TRIED_EVERY`]: many lenders must not cause many connections.
    pub(crate) fn begins_to_try(&self) -> bool {
        let mut tried = self.tried.lock();
        let begins = tried.is_none_or(|tried| tried.elapsed() > TRIED_EVERY);
        if begins {
            *tried = Some(Instant::now());
        }
        begins
    }

    /// Registers a connection; `None` if there is no room for it.
    fn add(&self, number: u64, is_proven: bool) -> Option<(u64, oneshot::Receiver<Want>)> {
        let mut all = self.known.lock();
        let same = |known: &Known| known.number == number && known.lender.is_proven == is_proven;
        let at = match all.iter().position(same) {
            Some(at) => at,
            None => {
                if all.len() >= LENDERS_MAX && !is_proven {
                    return None;
                }
                all.truncate(LENDERS_MAX - 1);
                let serial = self.serials.fetch_add(1, Ordering::Relaxed);
                let lender = Lender { serial, is_proven };
                let at = all.partition_point(|known| known.lender.is_proven || !is_proven);
                all.insert(at, Known { lender, number, open: 0, kept: VecDeque::new() });
                at
            }
        };
        let known = &mut all[at];
        known.kept.retain(|kept| !kept.is_closed());
        if known.kept.len() >= KEPT_MAX {
            return None;
        }
        let (kept, wanted) = oneshot::channel();
        known.kept.push_back(kept);
        known.open += 1;
        let serial = known.lender.serial;
        drop(all);
        self.changed.send_replace(());
        Some((serial, wanted))
    }

    /// Notes the end of a connection.
    fn ended(&self, serial: u64) {
        let mut all = self.known.lock();
        if let Some(known) = all.iter_mut().find(|known| known.lender.serial == serial) {
            known.open -= 1;
            known.kept.retain(|kept| !kept.is_closed());
        }
        all.retain(|known| known.open > 0);
        drop(all);
        self.changed.send_replace(());
    }
}

impl Loans {
    /// Keeps a connection until it is taken, and then counts it as open until it ends.
    pub(crate) async fn keep(
        &self,
        number: u64,
        is_proven: bool,
        mut connection: Box<dyn Connection>,
    ) {
        let Some((serial, mut wanted)) = self.add(number, is_proven) else { return };
        let _open = Open { loans: self, serial };
        let want = loop {
            tokio::select! {
                want = &mut wanted => break want,
                // The lender must not send anything unasked.
                _ = connection.read_u8() => return,
                () = tokio::time::sleep(SAID_EVERY) => {}
            }
            let said = async {
                say(&mut connection, KEPT).await?;
                connection.read_u8().await
            };
            if !matches!(tokio::time::timeout(SAID_WITHIN, said).await, Ok(Ok(KEPT))) {
                return;
            }
        };
        let Ok(want) = want else { return };
        let said = tokio::time::timeout(SAID_WITHIN, say(&mut connection, TAKEN)).await;
        if !matches!(said, Ok(Ok(()))) {
            return;
        }
        let (held, ended) = oneshot::channel();
        if want.send(Taken { connection, held }).is_ok() {
            // The sender is only dropped: that is the end of the connection.
            ended.await.ok();
        }
    }
}

/// Sends one byte.
pub(crate) async fn say(connection: &mut Box<dyn Connection>, word: u8) -> io::Result<()> {
    connection.write_u8(word).await?;
    connection.flush().await
}

/// Counts a connection of a lender until it is dropped.
struct Open<'a> {
    loans: &'a Loans,
    serial: u64,
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.loans.ended(self.serial);
    }
}

/// A connection that was taken.
pub(crate) struct Taken {
    pub(crate) connection: Box<dyn Connection>,
    /// Dropped with the connection.
    pub(crate) held: oneshot::Sender<()>,
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::io::DuplexStream;
    use tokio_util::task::TaskTracker;

    use super::*;

    /// Whether the lender's end reads the end of the connection, and no byte.
    async fn is_closed(end: &mut DuplexStream) -> bool {
        end.read_u8().await.is_err()
    }

    /// Lends a connection; returns the lender's end.
    fn lend(loans: &Arc<Loans>, number: u64, is_proven: bool) -> DuplexStream {
        let (near, far) = tokio::io::duplex(64);
        let loans = loans.clone();
        let keep = async move { loans.keep(number, is_proven, Box::new(near)).await };
        TaskTracker::new().spawn(keep);
        far
    }

    #[tokio::test]
    async fn who_comes_later_takes_no_place() {
        let loans = Arc::new(Loans::new());
        let mut first = lend(&loans, 1, false);
        loans.exist().await;
        let lender = loans.lender().unwrap();
        let mut others: Vec<_> = (2..20).map(|number| lend(&loans, number, false)).collect();
        // These are too many lenders.
        assert!(is_closed(others.last_mut().unwrap()).await);
        assert_eq!(loans.lender(), Some(lender));
        let taken = loans.take(lender).await.unwrap();
        assert_eq!(first.read_u8().await.unwrap(), TAKEN);
        assert_eq!(loans.lender(), Some(lender), "it counts as long as it is in use");
        drop(taken);
        assert!(is_closed(&mut first).await);
        let mut changed = loans.changed.subscribe();
        while loans.lender() == Some(lender) {
            changed.changed().await.unwrap();
        }
        let second = loans.lender().unwrap();
        loans.give_up(second);
        assert!(is_closed(&mut others[0]).await, "it does not answer as the member");
        assert_ne!(loans.lender(), Some(second));
    }

    #[tokio::test]
    async fn certificates_come_first() {
        let loans = Arc::new(Loans::new());
        let _plain: Vec<_> = (2..20).map(|number| lend(&loans, number, false)).collect();
        loans.exist().await;
        let _proven = lend(&loans, 1, true);
        let mut changed = loans.changed.subscribe();
        while !loans.lender().unwrap().is_proven {
            changed.changed().await.unwrap();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_one_that_was_given_up() {
        let loans = Arc::new(Loans::new());
        let _only = lend(&loans, 1, false);
        loans.exist().await;
        let lender = loans.lender().unwrap();
        let _taken = loans.take(lender).await.unwrap();
        let waits = tokio::time::timeout(SAID_WITHIN, loans.take(lender));
        let given_up = async { loans.give_up(lender) };
        let (taken, ()) = tokio::join!(waits, given_up);
        assert!(taken.expect("it waits").is_none());
    }

    #[test]
    fn many_who_lend_make_one_connection() {
        let loans = Loans::new();
        assert!(loans.begins_to_try());
        assert!(!loans.begins_to_try());
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_falls_silent_is_dropped() {
        let loans = Arc::new(Loans::new());
        let mut far = lend(&loans, 1, false);
        assert_eq!(far.read_u8().await.unwrap(), KEPT);
        far.write_u8(KEPT).await.unwrap();
        assert_eq!(far.read_u8().await.unwrap(), KEPT);
        assert!(is_closed(&mut far).await);
        assert_eq!(loans.lender(), None);
    }
}
