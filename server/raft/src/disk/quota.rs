//! The space quota: refuses writes that add data.
//!
//! As in etcd, it is checked twice. The member that receives a request checks the quota before the
//! proposal. Each member checks its own quota again when it applies a command: requests at other
//! members and concurrent proposals count as well. An applied command stays applied, because
//! the state is a function of the log alone. But its client gets the error that there is no space,
//! and the member raises the alarm, which makes all members refuse later writes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use quorate_core::Command;
use quorate_core::store::Shared;
use quorate_proto::etcdserverpb::alarm_request::AlarmAction;
use quorate_proto::etcdserverpb::{AlarmRequest, AlarmType};
use tokio::sync::Notify;

use super::reservations::{Reservation, Reservations};
use crate::ground::consensus::{Consensus, Holding};

/// Quota when none is configured, as in etcd.
const DEFAULT_BYTES: u64 = 2 << 30;

/// Pause after a failure to raise the alarm.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// Sends an answer that waits for the alarm.
type Held = Box<dyn FnOnce() + Send>;

/// Compares the size of the data in use with a limit. The length of a file does not count: space
/// that a compaction freed can be used again at once.
#[derive(Default)]
pub struct Quota {
    /// The quota as etcd reports it, in bytes; negative means no quota.
    configured: i64,
    /// The quota in bytes; 0 means no quota.
    limit: u64,
    used: AtomicU64,
    /// Whether a disk is short of space, whatever the quota is.
    is_short: AtomicBool,
    /// Disk space for writes in progress.
    reservations: Arc<Reservations>,
    exceeded: Mutex<Exceeded>,
    wake: Notify,
}

/// Commands that were applied although they did not fit.
#[derive(Default)]
struct Exceeded {
    /// Cost of the last such command, in bytes.
    cost: u64,
    /// Answers to such commands; at most as many as proposals in flight.
    held: Vec<Held>,
}

/// The command that raises the NOSPACE alarm for this member.
pub(crate) fn alarm(member_id: u64) -> Command {
    Command::Alarm(AlarmRequest {
        action: AlarmAction::Activate as i32,
        member_id,
        alarm: AlarmType::Nospace as i32,
    })
}

impl Quota {
    /// A quota in etcd's convention: 0 means the default of 2 GiB, a negative number no quota.
    pub fn new(bytes: i64) -> Self {
        let limit = match u64::try_from(bytes) {
            Ok(0) => DEFAULT_BYTES,
            Ok(bytes) => bytes,
            Err(_) => 0,
        };
        let configured = i64::try_from(limit).ok().filter(|limit| *limit > 0).unwrap_or(bytes);
        Self { configured, limit, ..Self::default() }
    }

    /// The quota in bytes as etcd reports it; negative means none.
    pub fn configured(&self) -> i64 {
        self.configured
    }

    /// The quota in bytes; 0 means none.
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// Whether to propose a request that adds `cost` bytes: it fits the quota, and no disk is
    /// short.
    fn admits(&self, cost: u64) -> bool {
        cost == 0 || (!self.is_short.load(Ordering::Relaxed) && self.allows(cost))
    }

    /// Reserves disk space for a request that adds `cost` bytes. Waits for a check of the disks if
    /// much was written since the last one. `None` means that the request must not be proposed.
    pub(crate) async fn reserve(&self, cost: u64) -> Option<Reservation> {
        if !self.admits(cost) {
            return None;
        }
        let reservation = self.reservations.reserve(cost).await;
        // The wait may have changed the answer.
        self.admits(cost).then_some(reservation)
    }

    /// The reservations of disk space.
    pub(crate) fn reservations(&self) -> &Reservations {
        &self.reservations
    }

    /// Notes whether a disk is short of space; if so, the alarm is raised.
    pub(crate) fn set_short(&self, is_short: bool) {
        self.is_short.store(is_short, Ordering::Relaxed);
        if is_short {
            self.wake.notify_one();
        }
    }

    /// Whether a request that adds `cost` bytes fits the quota.
    pub fn allows(&self, cost: u64) -> bool {
        cost == 0 || self.limit == 0 || self.used.load(Ordering::Relaxed) + cost < self.limit
    }

    /// Sets the bytes in use: the rows of the database, and data that is only in memory.
    pub(crate) fn measure(&self, used: u64) {
        self.used.store(used, Ordering::Relaxed);
    }

    /// Notes that a command of this cost was applied but did not fit.
    pub(crate) fn note_exceeded(&self, cost: u64) {
        self.exceeded.lock().cost = cost;
        self.wake.notify_one();
    }

    /// Holds the answer to a command that did not fit until the alarm is raised: its client then
    /// sees the alarm.
    pub(crate) fn hold(&self, answer: Held) {
        self.exceeded.lock().held.push(answer);
        self.wake.notify_one();
    }

    /// Raises the alarm whenever an applied command did not fit, or a disk is short of space.
    pub(crate) async fn raise(
        &self,
        member_id: u64,
        store: &Shared,
        consensus: &dyn Consensus,
        within: Duration,
    ) {
        loop {
            self.wake.notified().await;
            let Exceeded { cost, held } = std::mem::take(&mut *self.exceeded.lock());
            // Commands replayed at a start may fit by now.
            let is_over = !held.is_empty() || !self.allows(cost);
            let (any, mine) = store.tables(|tables| {
                let nospace = AlarmType::Nospace;
                (tables.is_raised(nospace), tables.alarms.contains(&(nospace as i32, member_id)))
            });
            let exceeds = is_over && !any;
            if exceeds {
                tracing::warn!(quota = self.limit, "the data exceed the space quota");
            }
            // Each member raises the alarm for its own disk.
            let is_short = self.is_short.load(Ordering::Relaxed) && !mine;
            let is_raised = if exceeds || is_short {
                let alarm = alarm(member_id).encode_from(&store.cluster_origin());
                propose(alarm, consensus, within).await
            } else {
                true
            };
            held.into_iter().for_each(|answer| answer());
            if !is_raised {
                tokio::time::sleep(RETRY_PAUSE).await;
            }
        }
    }
}

/// Proposes the alarm; true if it was applied within this time.
async fn propose(alarm: Bytes, consensus: &dyn Consensus, within: Duration) -> bool {
    let raised = consensus.propose(alarm, Holding::default());
    match tokio::time::timeout(within, raised).await {
        Ok(Ok(Some(Err(refusal)))) => tracing::warn!(%refusal, "the alarm is not raised yet"),
        Ok(Ok(_)) => return true,
        Ok(Err(error)) => tracing::warn!(%error, "the alarm is not raised yet"),
        Err(_) => tracing::warn!("the alarm was not raised in time"),
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_adds_nothing_always_fits() {
        let quota = Quota::new(1000);
        quota.measure(700);
        assert!(quota.allows(299) && !quota.allows(300));
        quota.measure(5000);
        assert!(quota.allows(0) && !quota.allows(1));
        assert!(Quota::new(-1).allows(u64::MAX));
        assert_eq!((Quota::new(-7).configured(), Quota::new(7).configured()), (-7, 7));
        assert_eq!(Quota::new(0).limit(), DEFAULT_BYTES);
    }

    #[test]
    fn a_shortage_of_a_disk_counts_only_before_a_proposal() {
        let quota = Quota::new(-1);
        quota.set_short(true);
        assert!(quota.allows(1) && quota.admits(0) && !quota.admits(1));
        quota.set_short(false);
        assert!(quota.admits(1));
    }
}
