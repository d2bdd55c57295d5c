//! The leader's clock for leases.
//!
//! The replicated state contains the leases and their TTLs. Only the leader measures their time, by
//! a monotonic clock. A new leader gives every lease its full TTL again plus an election timeout: a
//! lease may live longer than granted, but never shorter. The leader ends expired leases by
//! proposals, many leases in one. Once its end is proposed, a lease cannot be renewed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use quorate_core::planted::{self, Mistake};
use quorate_core::store::Shared;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

/// Maximum number of leases ended by one proposal.
const EXPIRE_BATCH: usize = 500;
/// Expired leases are collected for this long, so that leases that expire together end in one
/// proposal.
const EXPIRE_TICK: Duration = Duration::from_millis(100);
/// Pause before the end of a lease that still exists is proposed again.
const RETRY: Duration = Duration::from_secs(3);

/// The outcome of a keep-alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// The lease was renewed to this TTL in seconds.
    Renewed(i64),
    /// The lease does not exist, or it has just ended.
    NotFound,
    /// This member does not lead.
    NotPrimary,
}

/// The remaining time and the TTL of a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeToLive {
    /// Whole seconds left; 0 while the end of the lease is proposed.
    pub remaining: i64,
    /// The granted TTL in seconds.
    pub granted: i64,
}

/// A lease whose time the leader measures.
struct TimedLease {
    ttl: i64,
    deadline: Instant,
    /// Whether its end was proposed.
    ending: bool,
    /// Keep-alives that came too late and wait for the end of the lease.
    late_renewals: Vec<oneshot::Sender<()>>,
}

#[derive(Default)]
struct LeaseClock {
    /// The term in which this member leads.
    term: u64,
    leases: BTreeMap<i64, TimedLease>,
    deadlines: BTreeSet<(Instant, i64)>,
    /// Start of the time in which this member is not visible as leader, and no client can renew a
    /// lease.
    hidden_since: Option<Instant>,
}

impl LeaseClock {
    fn set(&mut self, id: i64, ttl: i64, deadline: Instant) {
        let timed = TimedLease { ttl, deadline, ending: false, late_renewals: Vec::new() };
        if let Some(old) = self.leases.insert(id, timed) {
            self.deadlines.remove(&(old.deadline, id));
        }
        self.deadlines.insert((deadline, id));
    }

    /// Resumes the clock after a time in which no lease could be renewed. That time does not count.
    fn resume(&mut self, now: Instant) {
        let Some(hidden_since) = self.hidden_since.take() else { return };
        let lost = now - hidden_since;
        for timed in self.leases.values_mut() {
            timed.deadline += lost;
        }
        let deadlines = self.leases.iter().map(|(id, timed)| (timed.deadline, *id));
        self.deadlines = deadlines.collect();
    }
}

/// The clock. It is empty while this member does not lead.
pub(crate) struct Lessor {
    store: Arc<Shared>,
    /// `None` on a member that does not lead.
    primary: Mutex<Option<LeaseClock>>,
    earlier: Notify,
}

impl Lessor {
    pub(crate) fn new(store: Arc<Shared>) -> Self {
        Self { store, primary: Mutex::new(None), earlier: Notify::new() }
    }

    /// Starts the clock of all leases: this member now leads in `term`. If it already led in that
    /// term and was only not visible as leader, the clock resumes where it stopped.
    pub(crate) fn promote(&self, term: u64, extension: Duration) {
        let now = Instant::now();
        // Grants and revocations wait for this lock.
        let mut primary = self.primary.lock();
        if let Some(clock) = primary.as_mut().filter(|clock| clock.term == term) {
            clock.resume(now);
            drop(primary);
            self.earlier.notify_one();
            return;
        }
        let clock = primary.insert(LeaseClock { term, ..LeaseClock::default() });
        self.store.tables(|tables| {
            for (id, lease) in &tables.leases {
                let left = if planted::has(Mistake::LoseLeaseTime) {
                    Duration::ZERO
                } else {
                    seconds(lease.ttl) + extension
                };
                clock.set(*id, lease.ttl, now + left);
            }
        });
        drop(primary);
        self.earlier.notify_one();
    }

    /// A snapshot replaced the leases. Only a member that does not lead installs one.
    pub(crate) fn replaced(&self) {
        self.demote();
    }

    /// No leader is visible in `term`. If this member was the leader, it may become visible again.
    /// Until then no lease ends and none can be renewed.
    pub(crate) fn suspend(&self, term: u64) {
        let mut primary = self.primary.lock();
        primary.take_if(|clock| clock.term != term);
        if let Some(clock) = primary.as_mut() {
            clock.hidden_since.get_or_insert_with(Instant::now);
        }
    }

    /// Stops the clock: another member leads.
    pub(crate) fn demote(&self) {
        *self.primary.lock() = None;
    }

    /// Starts the clock of a granted lease.
    pub(crate) fn granted(&self, id: i64, ttl: i64) {
        if let Some(clock) = self.primary.lock().as_mut() {
            // While this member is not visible as leader, this lease's time does not pass either.
            let from = clock.hidden_since.unwrap_or_else(Instant::now);
            clock.set(id, ttl, from + seconds(ttl));
            self.earlier.notify_one();
        }
    }

    /// Removes an ended lease and answers its late keep-alives.
    pub(crate) fn revoked(&self, id: i64) {
        if let Some(clock) = self.primary.lock().as_mut()
            && let Some(timed) = clock.leases.remove(&id)
        {
            clock.deadlines.remove(&(timed.deadline, id));
            for late in timed.late_renewals {
                late.send(()).ok();
            }
        }
    }

    /// Renews a lease to its full TTL. If the lease is ending, waits for the end, so that no answer
    /// says that the lease exists.
    ///
    /// # Cancel safety
    /// Dropping the future has no effect on the lease.
    pub(crate) async fn renew(&self, id: i64) -> Renewal {
        let ended = {
            let mut primary = self.primary.lock();
            let clock = primary.as_mut().filter(|clock| clock.hidden_since.is_none());
            let Some(clock) = clock else { return Renewal::NotPrimary };
            let now = Instant::now();
            let Some(timed) = clock.leases.get_mut(&id) else { return Renewal::NotFound };
            if timed.ending || timed.deadline <= now {
                let (sender, receiver) = oneshot::channel();
                // Some callers may have given up.
                timed.late_renewals.retain(|late| !late.is_closed());
                timed.late_renewals.push(sender);
                receiver
            } else {
                let ttl = timed.ttl;
                let old = timed.deadline;
                timed.deadline = now + seconds(ttl);
                let new = timed.deadline;
                clock.deadlines.remove(&(old, id));
                clock.deadlines.insert((new, id));
                return Renewal::Renewed(ttl);
            }
        };
        match ended.await {
            Ok(()) => Renewal::NotFound,
            // Leadership was lost before the end was applied.
            Err(_) => Renewal::NotPrimary,
        }
    }

    /// The remaining time of a lease, `Some(None)` if it does not exist; `None` when this member
    /// does not lead and so cannot know.
    pub(crate) fn time_to_live(&self, id: i64) -> Option<Option<TimeToLive>> {
        // The lock is taken before the table is read: the lease must not end in between.
        let primary = self.primary.lock();
        let lease = self.store.tables(|tables| tables.leases.get(&id).copied());
        let clock = primary.as_ref().filter(|clock| clock.hidden_since.is_none())?;
        let timed = clock.leases.get(&id);
        let Some(granted) = lease.map(|lease| lease.ttl) else { return Some(None) };
        // A lease granted just now has its full TTL.
        let remaining = timed.map_or(granted, |timed| {
            if timed.ending {
                return 0;
            }
            let left = timed.deadline.saturating_duration_since(Instant::now());
            i64::try_from(left.as_secs()).unwrap_or(i64::MAX)
        });
        Some(Some(TimeToLive { remaining, granted }))
    }

    /// Ids of all leases. On the leader, the earliest to expire come first.
    pub(crate) fn leases(&self) -> Vec<i64> {
        let mut ids = self.store.tables(|tables| tables.leases.keys().copied().collect::<Vec<_>>());
        if let Some(clock) = self.primary.lock().as_ref() {
            ids.sort_by_key(|id| clock.leases.get(id).map(|timed| timed.deadline));
        }
        ids
    }

    /// Waits until leases have expired. Returns this leader's term and the leases, which count as
    /// ending from then on.
    ///
    /// # Cancel safety
    /// No expiry is lost when the future is dropped.
    pub(crate) async fn expired(&self) -> (u64, Vec<i64>) {
        loop {
            let earlier = self.earlier.notified();
            tokio::pin!(earlier);
            earlier.as_mut().enable();
            let next = match self.take_expired() {
                Ok(found) => return found,
                Err(next) => next,
            };
            match next {
                Some(next) => {
                    let pause = next.max(Instant::now() + EXPIRE_TICK);
                    drop(tokio::time::timeout_at(pause, earlier).await);
                }
                None => earlier.await,
            }
        }
    }

    /// The expired leases, or the time at which the next one expires.
    fn take_expired(&self) -> Result<(u64, Vec<i64>), Option<Instant>> {
        let mut primary = self.primary.lock();
        let clock = primary.as_mut().filter(|clock| clock.hidden_since.is_none());
        let Some(clock) = clock else { return Err(None) };
        let now = Instant::now();
        let due = clock.deadlines.iter().take_while(|(deadline, _)| *deadline <= now);
        let due: Vec<(Instant, i64)> = due.take(EXPIRE_BATCH).copied().collect();
        if due.is_empty() {
            return Err(clock.deadlines.first().map(|(deadline, _)| *deadline));
        }
        for (deadline, id) in &due {
            // The lease stays until its end is applied. If that fails, the end is proposed again.
            clock.deadlines.remove(&(*deadline, *id));
            clock.deadlines.insert((now + RETRY, *id));
            if let Some(timed) = clock.leases.get_mut(id) {
                timed.ending = true;
                timed.deadline = now + RETRY;
            }
        }
        Ok((clock.term, due.into_iter().map(|(_, id)| id).collect()))
    }
}

/// A TTL as a duration of at most a hundred years, so that it fits the clock.
fn seconds(ttl: i64) -> Duration {
    const LONGEST: u64 = 100 * 365 * 24 * 3600;
    Duration::from_secs(u64::try_from(ttl).unwrap_or(0).min(LONGEST))
}

#[cfg(test)]
mod tests {
    use quorate_core::Store;
    use quorate_core::base::memory::MemoryBase;
    use quorate_core::store::RestoredState;
    use quorate_core::tables::{Lease, Tables};

    use super::*;

    fn lessor(leases: &[(i64, i64)]) -> Lessor {
        let mut tables = Tables::default();
        for (id, ttl) in leases {
            tables.leases.insert(*id, Lease { ttl: *ttl });
        }
        let restored = RestoredState { tables, ..Default::default() };
        let store = Store::new(Arc::new(MemoryBase::default()), restored);
        Lessor::new(store.shared().clone())
    }

    #[tokio::test(start_paused = true)]
    async fn leases_expire_unless_renewed() {
        let lessor = lessor(&[(1, 10), (2, 20), (3, 10)]);
        assert_eq!(lessor.renew(1).await, Renewal::NotPrimary);
        lessor.promote(4, Duration::from_secs(1));
        let start = Instant::now();
        let time = TimeToLive { remaining: 11, granted: 10 };
        assert_eq!(lessor.time_to_live(1), Some(Some(time)));
        assert_eq!(lessor.time_to_live(9), Some(None));
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert_eq!(lessor.renew(3).await, Renewal::Renewed(10));
        assert_eq!(lessor.renew(9).await, Renewal::NotFound);
        assert_eq!(lessor.expired().await, (4, vec![1]));
        assert_eq!(start.elapsed().as_secs(), 11);
        lessor.revoked(1);
        assert_eq!(lessor.expired().await, (4, vec![3]));
        assert_eq!(start.elapsed().as_secs(), 15);
        // The end of 3 was not applied, so it is proposed again.
        assert_eq!(lessor.expired().await, (4, vec![3]));
        lessor.revoked(3);
        assert_eq!(lessor.expired().await, (4, vec![2]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_late_keep_alive_waits_for_the_end_of_the_lease() {
        let lessor = Arc::new(lessor(&[(1, 10)]));
        lessor.promote(4, Duration::ZERO);
        assert_eq!(lessor.expired().await, (4, vec![1]));
        let (renewal, ()) = tokio::join!(lessor.renew(1), async { lessor.revoked(1) });
        assert_eq!(renewal, Renewal::NotFound);
        lessor.granted(2, 5);
        assert_eq!(lessor.expired().await, (4, vec![2]));
        let (renewal, ()) = tokio::join!(lessor.renew(2), async { lessor.demote() });
        assert_eq!(renewal, Renewal::NotPrimary);
    }

    #[tokio::test(start_paused = true)]
    async fn time_without_a_visible_leader_does_not_count() {
        let lessor = lessor(&[(1, 10)]);
        assert_eq!(lessor.time_to_live(1), None, "only the leader knows");
        let remaining = || lessor.time_to_live(1).map(|time| time.unwrap().remaining);
        lessor.promote(4, Duration::ZERO);
        tokio::time::sleep(Duration::from_secs(6)).await;
        lessor.suspend(4);
        assert_eq!(lessor.renew(1).await, Renewal::NotPrimary);
        let ends = tokio::time::timeout(Duration::from_secs(60), lessor.expired());
        assert!(ends.await.is_err(), "no client could renew it");
        lessor.granted(2, 10);
        lessor.promote(4, Duration::ZERO);
        assert_eq!(remaining(), Some(4));
        let granted = lessor.primary.lock().as_ref().unwrap().leases[&2].deadline;
        assert_eq!(granted, Instant::now() + Duration::from_secs(10), "it has its time, no more");
        lessor.suspend(5);
        assert_eq!(remaining(), None, "its term is over");
        lessor.promote(6, Duration::ZERO);
        assert_eq!(remaining(), Some(10));
    }
}
