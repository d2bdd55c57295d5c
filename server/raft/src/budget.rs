//! One memory budget for all data in flight: incoming requests, answers, events and history that
//! wait for a client, snapshots in transfer.
//!
//! ```text
//!   Budget    all bytes of the process
//!     Account   the share of one connection
//!       Permit    the bytes of one piece of work; dropping it gives them back
//! ```
//!
//! An account may hold up to [`SHARE`] times the bytes that are left for others. So a single
//! connection can take most of the budget, many connections that want more than the total get equal
//! parts, and a connection that holds nothing always gets some. No part of the code needs the
//! number of connections.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Counter, Gauge};
use quorate_core::planted::{self, Mistake};
use tokio::sync::{Semaphore, oneshot};
use tokio::time::Instant;

use crate::ground::float::float;

/// Bytes that an account may hold, as a multiple of the bytes left.
const SHARE: usize = 2;
/// Bytes that an account may hold even without room, so that a connection with a small request is
/// served although others hold everything. Each account gets at most one `LITTLE_PART`th of the
/// budget in this way, and only while the budget is exceeded by at most one `LITTLE_SUM_PART`th of
/// it.
const LITTLE: usize = 16 << 10;
const LITTLE_PART: usize = 4096;
const LITTLE_SUM_PART: usize = 8;
/// Maximum number of scans of one account that have begun and not ended.
const SCANS: usize = 3;
/// Maximum number of waiting acquisitions; more are refused.
const WAITING_MAX: usize = 4096;

/// The budget had no room until the deadline, or the wait was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the memory budget is used up")]
pub struct Exhausted;

/// The memory budget of this process. Clones share it.
#[derive(Clone)]
pub struct Budget(Arc<Shared>);

struct Shared {
    limit: usize,
    used: AtomicUsize,
    /// Length of the queue, so that giving bytes back needs no lock while it is empty.
    waiting: AtomicUsize,
    queue: Mutex<Queue>,
    waited: AtomicU64,
    refused: AtomicU64,
}

#[derive(Default)]
struct Queue {
    waiters: VecDeque<Waiter>,
    /// Number of walks over the queue so far.
    walk: u64,
    /// Id of the next waiter; ids ascend in the queue.
    next: u64,
}

struct Waiter {
    id: u64,
    holder: Arc<Holder>,
    bytes: usize,
    granted: oneshot::Sender<Permit>,
}

struct Holder {
    used: AtomicUsize,
    /// Number of this holder's waiters in the queue.
    waiting: AtomicUsize,
    /// The last walk over the queue that found no room for this holder.
    blocked: AtomicU64,
    scans: Arc<Semaphore>,
}

impl Budget {
    /// A budget of `limit` bytes.
    pub fn new(limit: usize) -> Self {
        let limit = if planted::has(Mistake::ForgetBudget) { usize::MAX } else { limit };
        Self(Arc::new(Shared {
            limit,
            used: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            queue: Mutex::default(),
            waited: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        }))
    }

    /// A new, empty account. Each connection has one, and each other purpose that competes with
    /// connections.
    pub fn account(&self) -> Account {
        let holder = Holder {
            used: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            blocked: AtomicU64::new(0),
            scans: Arc::new(Semaphore::new(SCANS)),
        };
        Account { shared: self.0.clone(), holder: Arc::new(holder) }
    }

    /// The size of the budget in bytes.
    pub fn limit(&self) -> usize {
        self.0.limit
    }

    /// The bytes held now.
    pub fn used(&self) -> usize {
        self.0.used.load(Ordering::Relaxed)
    }
}

/// The share of one connection in a budget. Clones share it.
#[derive(Clone)]
pub struct Account {
    shared: Arc<Shared>,
    holder: Arc<Holder>,
}

impl Account {
    /// Takes bytes, waiting until `deadline` for others to give some back. Acquisitions of one
    /// account are served in order.
    ///
    /// # Errors
    /// There was no room until `deadline`, `bytes` exceeds what one account could ever hold, or the
    /// queue is full.
    ///
    /// # Cancel safety
    /// Dropping the future holds no bytes and leaves the queue.
    pub async fn acquire(&self, bytes: usize, deadline: Instant) -> Result<Permit, Exhausted> {
        if let Some(permit) = self.try_acquire(bytes) {
            return Ok(permit);
        }
        let queued = self.enqueue(bytes)?;
        queued.granted(deadline).await.inspect_err(|_| self.refused())
    }

    /// Takes bytes if there is room and no earlier acquisition of this account waits.
    pub fn try_acquire(&self, bytes: usize) -> Option<Permit> {
        let is_taken = self.holder.waiting.load(Ordering::Relaxed) == 0
            && self.shared.take(&self.holder, bytes);
        is_taken.then(|| self.permit(bytes))
    }

    /// Takes bytes whether there is room or not, for memory that is in use already.
    pub fn charge(&self, bytes: usize) -> Permit {
        self.shared.used.fetch_add(bytes, Ordering::SeqCst);
        self.holder.used.fetch_add(bytes, Ordering::SeqCst);
        self.permit(bytes)
    }

    /// A permit for 0 bytes, to grow later.
    pub fn nothing(&self) -> Permit {
        self.permit(0)
    }

    /// A permit for each scan that may have begun and not ended.
    pub fn scans(&self) -> &Arc<Semaphore> {
        &self.holder.scans
    }

    /// The bytes that this account holds now.
    pub fn used(&self) -> usize {
        self.holder.used.load(Ordering::Relaxed)
    }

    /// Counts a refusal.
    fn refused(&self) {
        self.shared.refused.fetch_add(1, Ordering::Relaxed);
    }

    fn permit(&self, bytes: usize) -> Permit {
        Permit { account: self.clone(), bytes }
    }

    fn enqueue(&self, bytes: usize) -> Result<Queued, Exhausted> {
        let (granted, receiver) = oneshot::channel();
        let mut queue = self.shared.queue.lock();
        // A request that would not fit even into an empty budget does not wait.
        let fits = bytes <= SHARE.saturating_mul(self.shared.limit.saturating_sub(bytes));
        if !fits || queue.waiters.len() >= WAITING_MAX {
            self.refused();
            return Err(Exhausted);
        }
        self.shared.waited.fetch_add(1, Ordering::Relaxed);
        let id = queue.next;
        queue.next += 1;
        queue.waiters.push_back(Waiter { id, holder: self.holder.clone(), bytes, granted });
        self.holder.waiting.fetch_add(1, Ordering::SeqCst);
        self.shared.waiting.fetch_add(1, Ordering::SeqCst);
        // Bytes may have come back before the waiter was visible.
        self.shared.grant(&mut queue);
        Ok(Queued { account: self.clone(), id, receiver })
    }
}

impl Shared {
    /// Takes bytes for `holder` if there is room.
    fn take(&self, holder: &Holder, bytes: usize) -> bool {
        let mine = holder.used.load(Ordering::SeqCst).saturating_add(bytes);
        let taken = self.used.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |used| {
            let used = used.checked_add(bytes)?;
            if bytes == 0 {
                return Some(used);
            }
            let beyond = self.limit.saturating_add(self.limit / LITTLE_SUM_PART);
            if mine <= LITTLE.min(self.limit / LITTLE_PART) && used <= beyond {
                return Some(used);
            }
            let left = self.limit.checked_sub(used)?;
            (mine <= SHARE.saturating_mul(left)).then_some(used)
        });
        if taken.is_ok() {
            holder.used.fetch_add(bytes, Ordering::SeqCst);
        }
        taken.is_ok()
    }

    fn give_back(&self, holder: &Holder, bytes: usize) {
        holder.used.fetch_sub(bytes, Ordering::SeqCst);
        if planted::has(Mistake::LeakBudget) {
            return;
        }
        self.used.fetch_sub(bytes, Ordering::SeqCst);
    }

    /// Serves waiters in order of arrival. A waiter without room does not hold up other accounts'
    /// waiters, only later ones of its own account.
    fn grant(self: &Arc<Self>, queue: &mut Queue) {
        queue.walk += 1;
        let mut at = 0;
        while let Some(waiter) = queue.waiters.get(at) {
            let holder = &waiter.holder;
            if holder.blocked.load(Ordering::Relaxed) == queue.walk
                || !self.take(holder, waiter.bytes)
            {
                holder.blocked.store(queue.walk, Ordering::Relaxed);
                at += 1;
                continue;
            }
            let Some(waiter) = self.remove(queue, at) else { return };
            let account = Account { shared: self.clone(), holder: waiter.holder };
            if let Err(mut unwanted) = waiter.granted.send(account.permit(waiter.bytes)) {
                // Its `drop` would lock the queue, which is locked here.
                let bytes = std::mem::take(&mut unwanted.bytes);
                self.give_back(&unwanted.account.holder, bytes);
            }
        }
    }

    fn remove(&self, queue: &mut Queue, at: usize) -> Option<Waiter> {
        let waiter = queue.waiters.remove(at)?;
        waiter.holder.waiting.fetch_sub(1, Ordering::SeqCst);
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        Some(waiter)
    }
}

/// A place in the queue. Dropping it leaves the queue.
struct Queued {
    account: Account,
    id: u64,
    receiver: oneshot::Receiver<Permit>,
}

impl Queued {
    async fn granted(mut self, deadline: Instant) -> Result<Permit, Exhausted> {
        let granted = tokio::time::timeout_at(deadline, &mut self.receiver).await;
        granted.map_err(|_| Exhausted)?.map_err(|_| Exhausted)
    }
}

impl Drop for Queued {
    fn drop(&mut self) {
        // A permit that was granted before this is dropped with the receiver, after the lock is
        // released.
        self.receiver.close();
        let shared = &self.account.shared;
        let mut queue = shared.queue.lock();
        let at = queue.waiters.binary_search_by_key(&self.id, |waiter| waiter.id);
        if let Ok(at) = at {
            drop(shared.remove(&mut queue, at));
            // It may have held up later waiters of its account.
            shared.grant(&mut queue);
        }
    }
}

/// Bytes held until this is dropped.
pub struct Permit {
    account: Account,
    bytes: usize,
}

impl Permit {
    /// The bytes held now.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The account that holds the bytes.
    pub fn account(&self) -> &Account {
        &self.account
    }

    /// Takes more bytes, waiting until `deadline` as in [`Account::acquire`].
    ///
    /// # Errors
    /// As for [`Account::acquire`].
    ///
    /// # Cancel safety
    /// If the future is dropped, the permit is unchanged.
    pub async fn grow(&mut self, bytes: usize, deadline: Instant) -> Result<(), Exhausted> {
        let more = self.account.acquire(bytes, deadline).await?;
        self.join(more);
        Ok(())
    }

    /// Takes more bytes if there is room; returns whether it did. Acquisitions of this account that
    /// wait do not come first, because work in progress frees bytes when it ends.
    pub fn try_grow(&mut self, bytes: usize) -> bool {
        let is_taken = self.account.shared.take(&self.account.holder, bytes);
        self.bytes += if is_taken { bytes } else { 0 };
        is_taken
    }

    /// Takes over the bytes of another permit of the same account.
    ///
    /// # Panics
    /// If `other` belongs to another account.
    pub fn join(&mut self, mut other: Self) {
        assert!(Arc::ptr_eq(&self.account.holder, &other.account.holder), "one account");
        self.bytes += std::mem::take(&mut other.bytes);
    }

    /// Gives back all bytes above `bytes`.
    pub fn shrink_to(&mut self, bytes: usize) {
        drop(self.split(self.bytes.saturating_sub(bytes)));
    }

    /// Moves `bytes` to a new permit, or all of them if the permit holds fewer.
    #[must_use]
    pub fn split(&mut self, bytes: usize) -> Self {
        let part = bytes.min(self.bytes);
        self.bytes -= part;
        self.account.permit(part)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.bytes == 0 {
            return;
        }
        let shared = &self.account.shared;
        shared.give_back(&self.account.holder, self.bytes);
        if shared.waiting.load(Ordering::SeqCst) > 0 {
            shared.grant(&mut shared.queue.lock());
        }
    }
}

impl std::fmt::Debug for Permit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Permit").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

/// Metrics of a budget, read at each scrape.
pub(crate) struct BudgetMetrics {
    budget: Budget,
    limit: Gauge,
    used: Gauge,
    waiting: Gauge,
    waited: Counter,
    refused: Counter,
}

impl BudgetMetrics {
    pub(crate) fn new(budget: Budget) -> Self {
        let gauge = |name: &str, help: &str| Gauge::new(name, help).expect("a constant name");
        let counter = |name: &str, help: &str| Counter::new(name, help).expect("a constant name");
        Self {
            budget,
            limit: gauge("quorate_memory_budget_bytes", "Bytes that may be in flight."),
            used: gauge("quorate_memory_in_flight_bytes", "Bytes in flight."),
            waiting: gauge("quorate_memory_waiting", "Pieces of work that wait for memory."),
            waited: counter(
                "quorate_memory_waited_total",
                "Pieces of work that had to wait for memory.",
            ),
            refused: counter(
                "quorate_memory_refused_total",
                "Pieces of work that were refused for lack of memory.",
            ),
        }
    }

    fn parts(&self) -> [&dyn Collector; 5] {
        [&self.limit, &self.used, &self.waiting, &self.waited, &self.refused]
    }
}

impl Collector for BudgetMetrics {
    fn desc(&self) -> Vec<&Desc> {
        self.parts().into_iter().flat_map(Collector::desc).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let shared = &self.budget.0;
        self.limit.set(float(shared.limit as u64));
        self.used.set(float(shared.used.load(Ordering::Relaxed) as u64));
        self.waiting.set(float(shared.waiting.load(Ordering::Relaxed) as u64));
        for (counter, now) in [(&self.waited, &shared.waited), (&self.refused, &shared.refused)] {
            counter.reset();
            counter.inc_by(float(now.load(Ordering::Relaxed)));
        }
        self.parts().into_iter().flat_map(Collector::collect).collect()
    }
}
