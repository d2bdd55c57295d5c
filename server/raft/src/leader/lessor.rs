//! The leader's clock for leases.
//!
//! The replicated state contains the leases and their TTLs. Only the leader measures their time, by
//! a monotonic clock. A new leader gives every lease its full TTL again plus an election timeout: a
//! lease may live longer than granted, but never shorter. Expired leases are ended by proposals,
//! many leases in one. Once its end is proposed, a lease cannot be renewed.

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
struct Running {
    ttl: i64,
    deadline: Instant,
    /// Whether its end was proposed.
    ending: bool,
    /// Keep-alives that came too late and wait for the end of the lease.
    late: Vec<oneshot::Sender<()>>,
}

#[derive(Default)]
struct Watch {
    /// The term in which this member leads.
    term: u64,
    leases: BTreeMap<i64, Running>,
    deadlines: BTreeSet<(Instant, i64)>,
    /// Since when this member is not visible as leader; no client can renew a lease then.
    unseen: Option<Instant>,
}

impl Watch {
    fn set(&mut self, id: i64, ttl: i64, deadline: Instant) {
        let running = Running { ttl, deadline, ending: false, late: Vec::new() };
        if let Some(old) = self.leases.insert(id, running) {
            self.deadlines.remove(&(old.deadline, id));
        }
        self.deadlines.insert((deadline, id));
    }

    /// Resumes the clock after a time in which no lease could be renewed. That time does not count.
    fn resume(&mut self, now: Instant) {
        let Some(unseen) = self.unseen.take() else { return };
        let lost = now - unseen;
        for running in self.leases.values_mut() {
            running.deadline += lost;
        }
        let deadlines = self.leases.iter().map(|(id, running)| (running.deadline, *id));
        self.deadlines = deadlines.collect();
    }
}

/// The clock. It is empty while this member does not lead.
pub(crate) struct Lessor {
    store: Arc<Shared>,
    /// `None` on a member that does not lead.
    primary: Mutex<Option<Watch>>,
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
        // Grants and revocations wait for the lock meanwhile.
        let mut primary = self.primary.lock();
        if let Some(watch) = primary.as_mut().filter(|watch| watch.term == term) {
            watch.resume(now);
            drop(primary);
            self.earlier.notify_one();
            return;
        }
        let watch = primary.insert(Watch { term, ..Watch::default() });
        self.store.tables(|tables| {
            for (id, lease) in &tables.leases {
                let ttl = if lease.remaining_ttl > 0 { lease.remaining_ttl } else { lease.ttl };
                let left = match planted::has(Mistake::LoseLeaseTime) {
                    true => Duration::ZERO,
                    false => seconds(ttl) + extension,
                };
                watch.set(*id, lease.ttl, now + left);
            }
        });
        drop(primary);
        self.earlier.notify_one();
    }

    /// A snapshot replaced the leases. Only a member that does not lead installs one.
    pub(crate) fn replaced(&self) {
        self.demote();
    }

    /// No leader is visible in `term`. If it was this member, it may become visible again. Until
    /// then no lease ends and none can be renewed.
    pub(crate) fn suspend(&self, term: u64) {
        let mut primary = self.primary.lock();
        primary.take_if(|watch| watch.term != term);
        if let Some(watch) = primary.as_mut() {
            watch.unseen.get_or_insert_with(Instant::now);
        }
    }

    /// Stops the clock: another member leads.
    pub(crate) fn demote(&self) {
        *self.primary.lock() = None;
    }

    /// Starts the clock of a granted lease.
    pub(crate) fn granted(&self, id: i64, ttl: i64) {
        if let Some(watch) = self.primary.lock().as_mut() {
            // While this member is not visible as leader, this lease's time does not pass either.
            let from = watch.unseen.unwrap_or_else(Instant::now);
            watch.set(id, ttl, from + seconds(ttl));
            self.earlier.notify_one();
        }
    }

    /// Removes an ended lease and answers its late keep-alives.
    pub(crate) fn revoked(&self, id: i64) {
        if let Some(watch) = self.primary.lock().as_mut()
            && let Some(running) = watch.leases.remove(&id)
        {
            watch.deadlines.remove(&(running.deadline, id));
            for late in running.late {
                late.send(()).ok();
            }
        }
    }

    /// Renews a lease to its full TTL. If the lease is ending, waits for the end, so that the
    /// answer cannot claim that it lives.
    ///
    /// # Cancel safety
    /// Dropping the future has no effect on the lease.
    pub(crate) async fn renew(&self, id: i64) -> Renewal {
        let ended = {
            let mut primary = self.primary.lock();
            let watch = primary.as_mut().filter(|watch| watch.unseen.is_none());
            let Some(watch) = watch else { return Renewal::NotPrimary };
            let now = Instant::now();
            let Some(running) = watch.leases.get_mut(&id) else { return Renewal::NotFound };
            if running.ending || running.deadline <= now {
                let (sender, receiver) = oneshot::channel();
                // Some callers may have given up.
                running.late.retain(|late| !late.is_closed());
                running.late.push(sender);
                receiver
            } else {
                let (ttl, old) = (running.ttl, running.deadline);
                running.deadline = now + seconds(ttl);
                let new = running.deadline;
                watch.deadlines.remove(&(old, id));
                watch.deadlines.insert((new, id));
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
        // Locked before the table is read: the lease must not end in between.
        let primary = self.primary.lock();
        let lease = self.store.tables(|tables| tables.leases.get(&id).copied());
        let watch = primary.as_ref().filter(|watch| watch.unseen.is_none())?;
        let running = watch.leases.get(&id);
        let Some(granted) = lease.map(|lease| lease.ttl) else { return Some(None) };
        // A lease granted just now has its full TTL.
        let remaining = running.map_or(granted, |running| {
            if running.ending {
                return 0;
            }
            let left = running.deadline.saturating_duration_since(Instant::now());
            i64::try_from(left.as_secs()).unwrap_or(i64::MAX)
        });
        Some(Some(TimeToLive { remaining, granted }))
    }

    /// Ids of all leases. On the leader, the earliest to expire come first.
    pub(crate) fn leases(&self) -> Vec<i64> {
        let mut ids = self.store.tables(|tables| tables.leases.keys().copied().collect::<Vec<_>>());
        if let Some(watch) = self.primary.lock().as_ref() {
            ids.sort_by_key(|id| watch.leases.get(id).map(|running| running.deadline));
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
        let watch = primary.as_mut().filter(|watch| watch.unseen.is_none());
        let Some(watch) = watch else { return Err(None) };
        let now = Instant::now();
        let due = watch.deadlines.iter().take_while(|(deadline, _)| *deadline <= now);
        let due: Vec<(Instant, i64)> = due.take(EXPIRE_BATCH).copied().collect();
        if due.is_empty() {
            return Err(watch.deadlines.first().map(|(deadline, _)| *deadline));
        }
        for (deadline, id) in &due {
            // The lease stays until its end is applied. If that fails, the end is proposed again.
            watch.deadlines.remove(&(*deadline, *id));
            watch.deadlines.insert((now + RETRY, *id));
            if let Some(running) = watch.leases.get_mut(id) {
                running.ending = true;
                running.deadline = now + RETRY;
            }
        }
        Ok((watch.term, due.into_iter().map(|(_, id)| id).collect()))
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
            tables.leases.insert(*id, Lease { ttl: *ttl, remaining_ttl: 0 });
        }
        let restored = RestoredState { tables, ..Default::default() };
        let store = Store::new(Arc::new(MemoryBase::default()), restored);
        Lessor::new(store.shared().clone())
    }

    #[tokio::test(start_paused = true)]
    async fn leases_end_in_time_unless_renewed() {
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
    async fn a_keep_alive_that_comes_too_late_waits_for_the_end() {
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
    async fn time_in_which_the_leader_is_not_seen_does_not_count() {
        let lessor = lessor(&[(1, 10)]);
        assert_eq!(lessor.time_to_live(1), None, "who does not lead does not know");
        let remaining = || lessor.time_to_live(1).map(|time| time.unwrap().remaining);
        lessor.promote(4, Duration::ZERO);
        tokio::time::sleep(Duration::from_secs(6)).await;
        lessor.suspend(4);
        assert_eq!(lessor.renew(1).await, Renewal::NotPrimary);
        let ends = tokio::time::timeout(Duration::from_secs(60), lessor.expired());
        assert!(ends.await.is_err(), "nobody could renew it");
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
