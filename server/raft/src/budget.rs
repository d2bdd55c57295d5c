//! One budget in bytes for all that is in flight: requests that come in, answers, events and
//! history that wait for a client, snapshots on their way.
//!
//! ```text
//!   Budget    the bytes of the process
//!     Account   what one connection holds of them
//!       Permit    what one piece of work holds; dropping it gives the bytes back
//! ```
//!
//! An account may hold up to [`SHARE`] times what is left for others. So one connection alone can
//! have most of the budget; many that want more than there is get equal parts; and a connection
//! that holds nothing yet always finds room. Nobody has to know how many connections there are.

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
use tokio::sync::oneshot;
use tokio::time::Instant;

/// What an account may hold, as a multiple of what is left.
const SHARE: usize = 2;
/// What an account may hold although there is no room: a connection that asks for little is served,
/// whatever others hold. It is at most this, and a part of the limit; all of it together is at most
/// another part.
const LITTLE: usize = 16 << 10;
const LITTLE_PART: usize = 4096;
const LITTLE_SUM_PART: usize = 8;
/// Acquisitions that may wait; more are refused.
const WAITING_MAX: usize = 4096;

/// There is no room, and there was none for as long as could be waited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the memory budget is used up")]
pub struct Exhausted;

/// The bytes that may be in flight in this process. Cloning shares them.
#[derive(Clone)]
pub struct Budget(Arc<Shared>);

struct Shared {
    limit: usize,
    used: AtomicUsize,
    /// How many acquisitions are in the queue: whoever gives bytes back looks at this alone.
    waiting: AtomicUsize,
    queue: Mutex<Queue>,
    waited: AtomicU64,
    refused: AtomicU64,
}

#[derive(Default)]
struct Queue {
    waiters: VecDeque<Waiter>,
    /// Counts the walks over the queue.
    walk: u64,
    /// Names the next waiter.
    next: u64,
}

struct Waiter {
    id: u64,
    holder: Arc<Holder>,
    bytes: usize,
    granted: oneshot::Sender<Permit>,
}

#[derive(Default)]
struct Holder {
    used: AtomicUsize,
    /// How many of the waiters are this holder's.
    waiting: AtomicUsize,
    /// The last walk over the queue in which there was no room for it.
    blocked: AtomicU64,
}

impl Budget {
    /// A budget of so many bytes.
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

    /// An account that holds nothing yet: one for each connection, and for each other purpose that
    /// competes with connections.
    pub fn account(&self) -> Account {
        Account { shared: self.0.clone(), holder: Arc::default() }
    }

    /// All bytes there are.
    pub fn limit(&self) -> usize {
        self.0.limit
    }

    /// The bytes that are held.
    pub fn used(&self) -> usize {
        self.0.used.load(Ordering::Relaxed)
    }
}

/// What one connection holds of a budget. Cloning shares it.
#[derive(Clone)]
pub struct Account {
    shared: Arc<Shared>,
    holder: Arc<Holder>,
}

impl Account {
    /// Takes bytes, waiting until `deadline` for others to give some back. Those of one account
    /// come in turn.
    ///
    /// # Cancel safety
    /// Nothing is held when the future is dropped.
    pub async fn acquire(&self, bytes: usize, deadline: Instant) -> Result<Permit, Exhausted> {
        if let Some(permit) = self.try_acquire(bytes) {
            return Ok(permit);
        }
        let waiting = self.enqueue(bytes)?;
        waiting.granted(deadline).await.inspect_err(|_| self.refused())
    }

    /// Takes bytes if there is room, and nobody of this account waits for some.
    pub fn try_acquire(&self, bytes: usize) -> Option<Permit> {
        let is_taken = self.holder.waiting.load(Ordering::Relaxed) == 0
            && self.shared.take(&self.holder, bytes);
        is_taken.then(|| self.permit(bytes))
    }

    /// Takes bytes whether there is room or not: for what exists already.
    pub fn charge(&self, bytes: usize) -> Permit {
        self.shared.used.fetch_add(bytes, Ordering::SeqCst);
        self.holder.used.fetch_add(bytes, Ordering::SeqCst);
        self.permit(bytes)
    }

    /// A permit for nothing yet.
    pub fn nothing(&self) -> Permit {
        self.permit(0)
    }

    /// The bytes that this account holds.
    pub fn used(&self) -> usize {
        self.holder.used.load(Ordering::Relaxed)
    }

    /// Notes that something was refused for want of room.
    fn refused(&self) {
        self.shared.refused.fetch_add(1, Ordering::Relaxed);
    }

    fn permit(&self, bytes: usize) -> Permit {
        Permit { account: self.clone(), bytes }
    }

    fn enqueue(&self, bytes: usize) -> Result<Waiting, Exhausted> {
        let (granted, receiver) = oneshot::channel();
        let mut queue = self.shared.queue.lock();
        // What would not even fit if nothing else was held is not waited for.
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
        // Bytes that were given back before the waiter could be seen.
        self.shared.grant(&mut queue);
        Ok(Waiting { account: self.clone(), id, receiver })
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

    /// Gives to those that wait what there is, in the order in which they came, but for those
    /// whose account has no room: others do not wait behind them.
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
                // Dropping it would look at the queue, which is locked.
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

/// A place in the queue.
struct Waiting {
    account: Account,
    id: u64,
    receiver: oneshot::Receiver<Permit>,
}

impl Waiting {
    async fn granted(mut self, deadline: Instant) -> Result<Permit, Exhausted> {
        let granted = tokio::time::timeout_at(deadline, &mut self.receiver).await;
        granted.map_err(|_| Exhausted)?.map_err(|_| Exhausted)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        // What was granted meanwhile is given back with the receiver, outside the lock.
        self.receiver.close();
        let shared = &self.account.shared;
        let mut queue = shared.queue.lock();
        let at = queue.waiters.binary_search_by_key(&self.id, |waiter| waiter.id);
        if let Ok(at) = at {
            drop(shared.remove(&mut queue, at));
            // It may have held up others of its account.
            shared.grant(&mut queue);
        }
    }
}

/// Bytes that a piece of work holds until it is dropped.
pub struct Permit {
    account: Account,
    bytes: usize,
}

impl Permit {
    /// The bytes that are held.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The account that holds them.
    pub fn account(&self) -> &Account {
        &self.account
    }

    /// Takes more bytes, waiting for them until `deadline`.
    ///
    /// # Cancel safety
    /// What was held before is still held when the future is dropped.
    pub async fn grow(&mut self, bytes: usize, deadline: Instant) -> Result<(), Exhausted> {
        let more = self.account.acquire(bytes, deadline).await?;
        self.join(more);
        Ok(())
    }

    /// Takes more bytes if there is room.
    pub fn try_grow(&mut self, bytes: usize) -> bool {
        let more = self.account.try_acquire(bytes);
        more.map(|more| self.join(more)).is_some()
    }

    /// Takes over what another permit of the same account holds.
    ///
    /// # Panics
    /// When it is another account's.
    pub fn join(&mut self, mut other: Self) {
        assert!(Arc::ptr_eq(&self.account.holder, &other.account.holder), "one account");
        self.bytes += std::mem::take(&mut other.bytes);
    }

    /// Gives back all but `bytes`, if it holds more.
    pub fn shrink_to(&mut self, bytes: usize) {
        drop(self.split(self.bytes.saturating_sub(bytes)));
    }

    /// A permit of its own for a part of the bytes, for all of them if they are fewer.
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

/// What the metrics show of a budget, read when somebody asks.
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
                "Pieces of work that were refused for want of memory.",
            ),
        }
    }

    fn parts(&self) -> [&dyn Collector; 5] {
        [&self.limit, &self.used, &self.waiting, &self.waited, &self.refused]
    }
}

/// Exact up to 2^53.
#[expect(clippy::cast_precision_loss, reason = "metrics are floating-point numbers")]
fn float(number: u64) -> f64 {
    number as f64
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
