//! The leader's clock for leases.
//!
//! The replicated state knows which leases there are and how long each was granted; when one ends
//! is known here, on the member that leads, by a clock that never jumps. A new leader gives every
//! lease its full time again and an election timeout more: time may be given away, but never taken.
//! Expired leases are revoked by proposals, many in one; a lease that was renewed meanwhile is
//! renewed no more once its end was proposed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use quorate_core::planted::{self, Mistake};
use quorate_core::store::Shared;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

/// Leases ended by one proposal.
const EXPIRE_BATCH: usize = 500;
/// Expiries are collected for this long, so that leases that end together end in one proposal.
const EXPIRE_TICK: Duration = Duration::from_millis(100);
/// How long to wait before an end is proposed again that was not carried out.
const RETRY: Duration = Duration::from_secs(3);

/// What a keep-alive came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// The lease lives on for this many seconds.
    Renewed(i64),
    /// There is no such lease, or it just ended.
    NotFound,
    /// This member does not lead.
    NotPrimary,
}

/// What is known of a lease's time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeToLive {
    /// Seconds left, whole ones; 0 when the end is being proposed.
    pub remaining: i64,
    /// Seconds granted.
    pub granted: i64,
}

/// A lease that the leader watches over.
struct Running {
    ttl: i64,
    deadline: Instant,
    /// Its end was proposed.
    ending: bool,
    /// Keep-alives that came too late and wait for the end.
    late: Vec<oneshot::Sender<()>>,
}

#[derive(Default)]
struct Watch {
    /// The term in which this member leads.
    term: u64,
    leases: BTreeMap<i64, Running>,
    deadlines: BTreeSet<(Instant, i64)>,
    /// Since when nobody sees this member lead, so that nobody can renew anything.
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

    /// Goes on after a time in which nobody could renew anything: it does not count.
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

/// The clock. Without leadership it holds nothing.
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

    /// Starts to watch over all leases: this member leads now, in `term`. When it did already, and
    /// was only out of sight for a while, all goes on from where it was then.
    pub(crate) fn promote(&self, term: u64, extension: Duration) {
        let now = Instant::now();
        // Leases that are granted or revoked meanwhile wait for the lock.
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

    /// The leases are others now. Only a member that does not lead gets another one's state.
    pub(crate) fn replaced(&self) {
        self.demote();
    }

    /// Nobody is seen to lead in `term`. When this member did, it may again: no lease ends until
    /// then, and none is renewed.
    pub(crate) fn suspend(&self, term: u64) {
        let mut primary = self.primary.lock();
        primary.take_if(|watch| watch.term != term);
        if let Some(watch) = primary.as_mut() {
            watch.unseen.get_or_insert_with(Instant::now);
        }
    }

    /// Stops to watch: another member leads.
    pub(crate) fn demote(&self) {
        *self.primary.lock() = None;
    }

    /// A lease began.
    pub(crate) fn granted(&self, id: i64, ttl: i64) {
        if let Some(watch) = self.primary.lock().as_mut() {
            // While this member is not seen to lead, no time passes for this lease either.
            let from = watch.unseen.unwrap_or_else(Instant::now);
            watch.set(id, ttl, from + seconds(ttl));
            self.earlier.notify_one();
        }
    }

    /// A lease ended.
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

    /// Gives a lease its full time again. A lease that is ending is waited for: the answer must not
    /// say that it lives.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub(crate) async fn renew(&self, id: i64) -> Renewal {
        let ended = {
            let mut primary = self.primary.lock();
            let watch = primary.as_mut().filter(|watch| watch.unseen.is_none());
            let Some(watch) = watch else { return Renewal::NotPrimary };
            let now = Instant::now();
            let Some(running) = watch.leases.get_mut(&id) else { return Renewal::NotFound };
            if running.ending || running.deadline <= now {
                let (sender, receiver) = oneshot::channel();
                // Those who asked may have given up.
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
            // Leadership was lost before the end was carried out.
            Err(_) => Renewal::NotPrimary,
        }
    }

    /// The time of a lease, which may not exist; `None` when this member does not lead, and so does
    /// not know.
    pub(crate) fn time_to_live(&self, id: i64) -> Option<Option<TimeToLive>> {
        // Before the table is read: a lease must not end in between.
        let primary = self.primary.lock();
        let lease = self.store.tables(|tables| tables.leases.get(&id).copied());
        let watch = primary.as_ref().filter(|watch| watch.unseen.is_none())?;
        let running = watch.leases.get(&id);
        let Some(granted) = lease.map(|lease| lease.ttl) else { return Some(None) };
        // One that was granted just now has all its time.
        let remaining = running.map_or(granted, |running| {
            if running.ending {
                return 0;
            }
            let left = running.deadline.saturating_duration_since(Instant::now());
            i64::try_from(left.as_secs()).unwrap_or(i64::MAX)
        });
        Some(Some(TimeToLive { remaining, granted }))
    }

    /// Ids of all leases, those that end first in front.
    pub(crate) fn leases(&self) -> Vec<i64> {
        let mut ids = self.store.tables(|tables| tables.leases.keys().copied().collect::<Vec<_>>());
        if let Some(watch) = self.primary.lock().as_ref() {
            ids.sort_by_key(|id| watch.leases.get(id).map(|running| running.deadline));
        }
        ids
    }

    /// Waits until leases have expired and returns them with the term of the leader who says so;
    /// they count as ending from then on.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
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

    /// Leases that have expired, or the time at which the next one will.
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
            // It stays until the end is carried out; if that fails, it is proposed again.
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

/// A TTL as a time; one that would not fit a clock is as good as for ever.
fn seconds(ttl: i64) -> Duration {
    const LONGEST: u64 = 100 * 365 * 24 * 3600;
    Duration::from_secs(u64::try_from(ttl).unwrap_or(0).min(LONGEST))
}

#[cfg(test)]
mod tests {
    use quorate_core::Store;
    use quorate_core::base::memory::MemoryBase;
    use quorate_core::store::Restored;
    use quorate_core::tables::{Lease, Tables};

    use super::*;

    fn lessor(leases: &[(i64, i64)]) -> Lessor {
        let mut tables = Tables::default();
        for (id, ttl) in leases {
            tables.leases.insert(*id, Lease { ttl: *ttl, remaining_ttl: 0 });
        }
        let restored = Restored { tables, ..Default::default() };
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
        // Not carried out: proposed again.
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
