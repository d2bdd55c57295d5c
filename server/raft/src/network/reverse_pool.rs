//! Reverse connections, on the side that calls over them: another member has opened them, and this
//! member uses them if it cannot connect to the other one.
//!
//! A reverse connection begins as an HTTP/1.1 upgrade request of its initiator. After that, the
//! acceptor sends single bytes: [`PING`] at intervals, which the initiator answers, and once
//! [`TAKE`]. From then on the connection is like one that the acceptor has opened.

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

/// Bytes that the acceptor sends: the connection stays idle, or it is in use from now on.
pub(crate) const PING: u8 = 0;
pub(crate) const TAKE: u8 = 1;
/// Interval of [`PING`] on an idle connection, and the time limit for the answer.
pub(crate) const PING_INTERVAL: Duration = Duration::from_secs(1);
pub(crate) const PONG_TIMEOUT: Duration = Duration::from_secs(2);
/// Shortest interval between two probes of a member's URLs that new initiators cause, and the time
/// limit of each probe.
pub(crate) const PROBE_INTERVAL: Duration = Duration::from_secs(1);
/// Maximum number of idle connections of one initiator, and of initiators in the name of one
/// member.
const IDLE_MAX: usize = 2;
const INITIATORS_MAX: usize = 8;

/// A process that opens reverse connections in the name of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Initiator {
    serial: u64,
    /// Whether it has presented a certificate.
    pub(crate) is_proven: bool,
}

/// A request for an idle connection.
type Want = oneshot::Sender<TakenConnection>;

struct Known {
    initiator: Initiator,
    /// The number in its headers, which is constant while its process runs.
    number: u64,
    /// Number of its connections, idle or in use.
    open: usize,
    idle: VecDeque<oneshot::Sender<Want>>,
}

/// The reverse connections of one member. Their initiators are the member itself and, at a port
/// without TLS, any program that claims to be it. The first initiator is used as long as it has
/// connections and answers on them, so a later one cannot displace it.
pub(crate) struct ReversePool {
    /// Initiators in order of arrival, but those with a certificate come first.
    known: Mutex<Vec<Known>>,
    serials: AtomicU64,
    /// Signalled at every change.
    changed: watch::Sender<()>,
    /// When a new initiator last caused a probe of the member's URLs.
    probed: Mutex<Option<Instant>>,
}

impl ReversePool {
    pub(crate) fn new() -> Self {
        let known = Mutex::default();
        let serials = AtomicU64::new(0);
        Self { known, serials, changed: watch::Sender::new(()), probed: Mutex::default() }
    }

    /// The initiator whose connections to use; `None` if there is no initiator.
    pub(crate) fn initiator(&self) -> Option<Initiator> {
        self.known.lock().first().map(|known| known.initiator)
    }

    /// Waits until there is an initiator.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub(crate) async fn available(&self) {
        let mut changed = self.changed.subscribe();
        while self.initiator().is_none() && changed.changed().await.is_ok() {}
    }

    /// Drops an initiator that does not answer as the member. If it comes back, it is the last in
    /// order.
    pub(crate) fn drop_initiator(&self, initiator: Initiator) {
        self.known.lock().retain(|known| known.initiator != initiator);
        // Wakes calls of `take` that wait for this initiator.
        self.changed.send_replace(());
    }

    /// Waits for a connection of this initiator; `None` if the initiator is gone.
    ///
    /// # Cancel safety
    /// Dropping the future may close one idle connection.
    pub(crate) async fn take(&self, initiator: Initiator) -> Option<TakenConnection> {
        let mut changed = self.changed.subscribe();
        loop {
            let idle = {
                let mut known = self.known.lock();
                known.iter_mut().find(|known| known.initiator == initiator)?.idle.pop_front()
            };
            let Some(idle) = idle else {
                changed.changed().await.ok()?;
                continue;
            };
            let (want, taken) = oneshot::channel();
            if idle.send(want).is_ok()
                && let Ok(connection) = taken.await
            {
                return Some(connection);
            }
        }
    }

    /// Whether an initiator with this number has a connection here.
    pub(crate) fn knows(&self, number: u64) -> bool {
        self.known.lock().iter().any(|known| known.number == number)
    }

    /// Whether to probe the member's URLs because of a new initiator; the caller must then do so.
    /// At most once per [`PROBE_INTERVAL`]: many initiators must not cause many connections.
    pub(crate) fn may_probe(&self) -> bool {
        let mut probed = self.probed.lock();
        let may_probe = probed.is_none_or(|probed| probed.elapsed() > PROBE_INTERVAL);
        if may_probe {
            *probed = Some(Instant::now());
        }
        may_probe
    }

    /// Registers a connection; `None` if there is no room for it.
    fn add(&self, number: u64, is_proven: bool) -> Option<(u64, oneshot::Receiver<Want>)> {
        let mut all = self.known.lock();
        let same = |known: &Known| known.number == number && known.initiator.is_proven == is_proven;
        let at = match all.iter().position(same) {
            Some(at) => at,
            None => {
                if all.len() >= INITIATORS_MAX && !is_proven {
                    return None;
                }
                all.truncate(INITIATORS_MAX - 1);
                let serial = self.serials.fetch_add(1, Ordering::Relaxed);
                let initiator = Initiator { serial, is_proven };
                let at = all.partition_point(|known| known.initiator.is_proven || !is_proven);
                all.insert(at, Known { initiator, number, open: 0, idle: VecDeque::new() });
                at
            }
        };
        let known = &mut all[at];
        known.idle.retain(|idle| !idle.is_closed());
        if known.idle.len() >= IDLE_MAX {
            return None;
        }
        let (idle, wanted) = oneshot::channel();
        known.idle.push_back(idle);
        known.open += 1;
        let serial = known.initiator.serial;
        drop(all);
        self.changed.send_replace(());
        Some((serial, wanted))
    }

    /// Notes the end of a connection.
    fn ended(&self, serial: u64) {
        let mut all = self.known.lock();
        if let Some(known) = all.iter_mut().find(|known| known.initiator.serial == serial) {
            known.open -= 1;
            known.idle.retain(|idle| !idle.is_closed());
        }
        all.retain(|known| known.open > 0);
        drop(all);
        self.changed.send_replace(());
    }
}

impl ReversePool {
    /// Holds a connection until it is taken, and then counts it as open until it ends.
    pub(crate) async fn hold(
        &self,
        number: u64,
        is_proven: bool,
        mut connection: Box<dyn Connection>,
    ) {
        let Some((serial, mut wanted)) = self.add(number, is_proven) else { return };
        let _open = Open { pool: self, serial };
        let want = loop {
            tokio::select! {
                want = &mut wanted => break want,
                // The initiator may send only answers.
                _ = connection.read_u8() => return,
                () = tokio::time::sleep(PING_INTERVAL) => {}
            }
            let answered = async {
                send_byte(&mut connection, PING).await?;
                connection.read_u8().await
            };
            if !matches!(tokio::time::timeout(PONG_TIMEOUT, answered).await, Ok(Ok(PING))) {
                return;
            }
        };
        let Ok(want) = want else { return };
        let sent = tokio::time::timeout(PONG_TIMEOUT, send_byte(&mut connection, TAKE)).await;
        if !matches!(sent, Ok(Ok(()))) {
            return;
        }
        let (held, ended) = oneshot::channel();
        if want.send(TakenConnection { connection, held }).is_ok() {
            // The sender is only dropped: that is the end of the connection.
            ended.await.ok();
        }
    }
}

/// Sends one byte.
pub(crate) async fn send_byte(connection: &mut Box<dyn Connection>, byte: u8) -> io::Result<()> {
    connection.write_u8(byte).await?;
    connection.flush().await
}

/// Counts a connection of an initiator as open until it is dropped.
struct Open<'a> {
    pool: &'a ReversePool,
    serial: u64,
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.pool.ended(self.serial);
    }
}

/// A connection that was taken.
pub(crate) struct TakenConnection {
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

    /// Whether the initiator's end reads the end of the connection, and no byte.
    async fn is_closed(end: &mut DuplexStream) -> bool {
        end.read_u8().await.is_err()
    }

    /// Adds a connection; returns the initiator's end.
    fn add(pool: &Arc<ReversePool>, number: u64, is_proven: bool) -> DuplexStream {
        let (near, far) = tokio::io::duplex(64);
        let pool = pool.clone();
        let hold = async move { pool.hold(number, is_proven, Box::new(near)).await };
        TaskTracker::new().spawn(hold);
        far
    }

    #[tokio::test]
    async fn a_later_initiator_does_not_displace_an_earlier_one() {
        let pool = Arc::new(ReversePool::new());
        let mut first = add(&pool, 1, false);
        pool.available().await;
        let initiator = pool.initiator().unwrap();
        let mut others: Vec<_> = (2..20).map(|number| add(&pool, number, false)).collect();
        // These are too many initiators.
        assert!(is_closed(others.last_mut().unwrap()).await);
        assert_eq!(pool.initiator(), Some(initiator));
        let taken = pool.take(initiator).await.unwrap();
        assert_eq!(first.read_u8().await.unwrap(), TAKE);
        assert_eq!(pool.initiator(), Some(initiator), "it counts as long as it is in use");
        drop(taken);
        assert!(is_closed(&mut first).await);
        let mut changed = pool.changed.subscribe();
        while pool.initiator() == Some(initiator) {
            changed.changed().await.unwrap();
        }
        let second = pool.initiator().unwrap();
        pool.drop_initiator(second);
        assert!(is_closed(&mut others[0]).await, "it does not answer as the member");
        assert_ne!(pool.initiator(), Some(second));
    }

    #[tokio::test]
    async fn initiators_with_a_certificate_come_first() {
        let pool = Arc::new(ReversePool::new());
        let _plain: Vec<_> = (2..20).map(|number| add(&pool, number, false)).collect();
        pool.available().await;
        let _proven = add(&pool, 1, true);
        let mut changed = pool.changed.subscribe();
        while !pool.initiator().unwrap().is_proven {
            changed.changed().await.unwrap();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn no_call_waits_for_a_dropped_initiator() {
        let pool = Arc::new(ReversePool::new());
        let _only = add(&pool, 1, false);
        pool.available().await;
        let initiator = pool.initiator().unwrap();
        let _taken = pool.take(initiator).await.unwrap();
        let waits = tokio::time::timeout(PONG_TIMEOUT, pool.take(initiator));
        let dropped = async { pool.drop_initiator(initiator) };
        let (taken, ()) = tokio::join!(waits, dropped);
        assert!(taken.expect("it waits").is_none());
    }

    #[test]
    fn many_initiators_cause_one_probe() {
        let pool = ReversePool::new();
        assert!(pool.may_probe());
        assert!(!pool.may_probe());
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_connection_is_dropped() {
        let pool = Arc::new(ReversePool::new());
        let mut far = add(&pool, 1, false);
        assert_eq!(far.read_u8().await.unwrap(), PING);
        far.write_u8(PING).await.unwrap();
        assert_eq!(far.read_u8().await.unwrap(), PING);
        assert!(is_closed(&mut far).await);
        assert_eq!(pool.initiator(), None);
    }
}
