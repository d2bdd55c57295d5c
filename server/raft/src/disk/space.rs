//! Watches the free space of the disks.
//!
//! A write that a full disk refuses is lost. So the member acts before the disk is full: it refuses
//! writes that add data, and raises the alarm that etcd raises for its quota. The space that is
//! left is for the work that ends the shortage: deletions, compactions, flushes, and their log
//! entries.

use std::fmt::Debug;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use quorate_core::planted::{self, Mistake};
use quorate_core::store::Shared;
use tokio::time::Instant;

use super::flusher::Flusher;
use super::quota::Quota;
use super::reservations::allowance;
use crate::ground::consensus::Consensus;

/// Interval between checks, unless writes need one earlier.
const CHECK_EVERY: Duration = Duration::from_millis(200);
/// Shortest interval between flushes of memtables that are not full.
const FLUSH_PAUSE: Duration = Duration::from_secs(2);
/// A memtable takes at most `1 / MEMTABLE_PART` of the space that the disks can give: there are two
/// memtables, and small values are written twice.
const MEMTABLE_PART: u64 = 8;
/// Smallest size limit of a memtable, in bytes.
const MEMTABLE_BYTES_MIN: u64 = 1 << 20;

/// State of one disk, in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
struct DiskState {
    path: PathBuf,
    free: u64,
    margin: u64,
    /// Space that should be free, including the margin.
    wanted: u64,
}

impl DiskState {
    fn is_short(&self, was_short: bool) -> bool {
        // Hysteresis, so that a shortage does not begin and end with each flush.
        let beside = if was_short { self.margin / 4 } else { 0 };
        self.free < self.wanted + beside
    }

    fn allowance(&self) -> u64 {
        allowance(self.free, self.wanted, self.margin)
    }
}

/// Checks the disks of the database and of the log, which may be the same.
fn check(flusher: &Flusher, store: &Shared) -> std::io::Result<[DiskState; 2]> {
    let engine = flusher.engine();
    let wal = flusher.wal();
    let need = engine.space_need(store.memtable_size())?;
    let state = |path: &std::path::Path, disk: quorate_storage::space::Disk, wanted: u64| {
        let margin = disk.margin();
        DiskState { path: path.to_owned(), free: disk.free, margin, wanted: wanted + margin }
    };
    let log = wal.disk()?;
    Ok([state(engine.path(), need.disk, need.wanted), state(wal.path(), log, 0)])
}

/// Makes the quota refuse writes that add data while a disk is short of space. Flushes memtables
/// early while a disk is short or the log is long.
pub(crate) async fn watch(
    flusher: Flusher,
    store: Arc<Shared>,
    quota: Arc<Quota>,
    consensus: Arc<dyn Consensus>,
) {
    let mut was_short = false;
    let mut flushed = Instant::now();
    loop {
        tokio::time::timeout(CHECK_EVERY, quota.reservations().wanted()).await.ok();
        let written = quota.reservations().written();
        let checked_flusher = flusher.clone();
        let checked_store = store.clone();
        // A disk that hangs must not block a thread that serves requests.
        let checked =
            tokio::task::spawn_blocking(move || check(&checked_flusher, &checked_store)).await;
        // If a disk does not report its size, only the quota limits writes.
        let Ok(Ok(disks)) = checked else {
            quota.reservations().checked(written, u64::MAX);
            continue;
        };
        let gives = disks.iter().map(|disk| disk.free.saturating_sub(disk.margin)).min();
        flusher.limit_memtables((gives.unwrap_or(0) / MEMTABLE_PART).max(MEMTABLE_BYTES_MIN));
        let is_checked = !planted::has(Mistake::IgnoreRoom);
        let short = disks.iter().find(|disk| is_checked && disk.is_short(was_short));
        let is_short = is_checked && (short.is_some() || flusher.waits_for_space());
        quota.set_short(is_short);
        flusher.set_short(is_short);
        let allowed = disks.iter().map(DiskState::allowance).min().filter(|_| is_checked);
        quota.reservations().checked(written, allowed.unwrap_or(u64::MAX));
        if !was_short && let Some(disk) = short {
            let DiskState { path, free, wanted, .. } = disk;
            tracing::warn!(
                path = %path.display(),
                free,
                wanted,
                "the disk is nearly full: writes that add data are refused; free space on it or \
                 enlarge it, or delete keys, compact and defragment; then disarm the alarm"
            );
        }
        if (is_short || flusher.is_log_long()) && flushed.elapsed() > FLUSH_PAUSE {
            flushed = Instant::now();
            // The flush waits for the command that is being applied, and that command may wait for
            // disk space. So this wait has a time limit.
            tokio::time::timeout(CHECK_EVERY, consensus.flush()).await.ok();
        }
        if was_short && !is_short {
            tracing::info!("the disk has space again; the alarm stays until it is disarmed");
        }
        was_short = is_short;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shortage_ends_a_little_later_than_it_began() {
        let disk = |free| DiskState { path: PathBuf::new(), free, margin: 40, wanted: 100 };
        assert!(disk(99).is_short(false) && !disk(100).is_short(false));
        assert!(disk(109).is_short(true) && !disk(110).is_short(true));
    }
}
