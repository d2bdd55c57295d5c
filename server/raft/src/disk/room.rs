//! Watches the free space of the disks.
//!
//! A write that a full disk refuses is lost. So writes that add data are refused earlier, by the
//! alarm that etcd raises for its quota. The space that is left is for what ends the shortage:
//! deletions, compactions, flushes, and their log entries.

use std::fmt::Debug;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use quorate_core::planted::{self, Mistake};
use quorate_core::store::Shared;
use tokio::time::Instant;

use super::claims::allowance;
use super::flusher::Flusher;
use super::quota::Quota;
use crate::ground::consensus::Consensus;

/// Interval between checks, unless writes need one earlier.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Shortest interval between flushes of memtables that are not full.
const FLUSH_PAUSE: Duration = Duration::from_secs(2);
/// A memtable takes at most `1 / MEMTABLE_PART` of the space that the disks can give: there are two
/// memtables, and small values are written twice.
const MEMTABLE_PART: u64 = 8;
/// Smallest size limit of a memtable, in bytes.
const MEMTABLE_BYTES_MIN: u64 = 1 << 20;

/// State of one disk, in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Look {
    path: PathBuf,
    free: u64,
    margin: u64,
    /// Space that should be free, including the margin.
    wanted: u64,
}

impl Look {
    fn is_short(&self, was_short: bool) -> bool {
        // Hysteresis: the shortage must not begin and end with each flush.
        let beside = if was_short { self.margin / 4 } else { 0 };
        self.free < self.wanted + beside
    }

    fn allowance(&self) -> u64 {
        allowance(self.free, self.wanted, self.margin)
    }
}

/// Checks the disks of the database and of the log, which may be the same.
fn look(flusher: &Flusher, store: &Shared) -> std::io::Result<[Look; 2]> {
    let (engine, wal) = (flusher.engine(), flusher.wal());
    let room = engine.room(store.memtable_size())?;
    let look = |path: &std::path::Path, disk: quorate_storage::space::Disk, wanted: u64| {
        let margin = disk.margin();
        Look { path: path.to_owned(), free: disk.free, margin, wanted: wanted + margin }
    };
    let log = wal.disk()?;
    Ok([look(engine.path(), room.disk, room.wanted), look(wal.path(), log, 0)])
}

/// Makes the quota refuse writes that add data while a disk is short of space. Flushes memtables
/// early while a disk is short or the log is long.
pub(crate) async fn watch(
    flusher: Flusher,
    store: Arc<Shared>,
    quota: Arc<Quota>,
    consensus: Arc<dyn Consensus>,
) {
    let (mut was_short, mut flushed) = (false, Instant::now());
    loop {
        tokio::time::timeout(LOOK_EVERY, quota.claims().wanted()).await.ok();
        let written = quota.claims().written();
        let (flushes, memtables) = (flusher.clone(), store.clone());
        // A disk that hangs must not block a thread that serves requests.
        let looked = tokio::task::spawn_blocking(move || look(&flushes, &memtables)).await;
        // If a disk does not report its size, only the quota counts.
        let Ok(Ok(looks)) = looked else {
            quota.claims().looked(written, u64::MAX);
            continue;
        };
        let gives = looks.iter().map(|look| look.free.saturating_sub(look.margin)).min();
        flusher.limit_memtables((gives.unwrap_or(0) / MEMTABLE_PART).max(MEMTABLE_BYTES_MIN));
        let is_looked = !planted::has(Mistake::IgnoreRoom);
        let short = looks.iter().find(|look| is_looked && look.is_short(was_short));
        let is_short = is_looked && (short.is_some() || flusher.waits_for_room());
        quota.set_short(is_short);
        let allowed = looks.iter().map(Look::allowance).min().filter(|_| is_looked);
        quota.claims().looked(written, allowed.unwrap_or(u64::MAX));
        if let (Some(look), false) = (short, was_short) {
            let Look { path, free, wanted, .. } = look;
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
            // The flush waits behind a command that is being applied, which may wait itself.
            tokio::time::timeout(LOOK_EVERY, consensus.flush()).await.ok();
        }
        if was_short && !is_short {
            tracing::info!("the disk has room again; the alarm stays until it is disarmed");
        }
        was_short = is_short;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shortage_ends_a_little_later_than_it_began() {
        let look = |free| Look { path: PathBuf::new(), free, margin: 40, wanted: 100 };
        assert!(look(99).is_short(false) && !look(100).is_short(false));
        assert!(look(109).is_short(true) && !look(110).is_short(true));
    }
}
