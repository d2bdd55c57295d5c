//! The space quota: when writes that add data are refused.

use std::sync::atomic::{AtomicU64, Ordering};

use quorate_storage::base::engine::Sizes;

/// Quota when none is configured, as in etcd.
const DEFAULT_BYTES: u64 = 2 << 30;

/// Compares what the database holds with what it may hold. What counts is the data in use, not
/// the length of a file: space that a compaction freed can be used again at once.
#[derive(Debug)]
pub struct Quota {
    /// 0 for no quota.
    limit: u64,
    used: AtomicU64,
}

impl Quota {
    /// Reads etcd's convention: 0 is the default of 2 GiB, a negative number no quota.
    pub fn new(bytes: i64) -> Self {
        let limit = match u64::try_from(bytes) {
            Ok(0) => DEFAULT_BYTES,
            Ok(bytes) => bytes,
            Err(_) => 0,
        };
        Self { limit, used: AtomicU64::new(0) }
    }

    /// The quota in bytes; 0 for none.
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// Whether a request that adds `cost` bytes may be proposed.
    pub fn allows(&self, cost: u64) -> bool {
        self.limit == 0 || self.used.load(Ordering::Relaxed) + cost < self.limit
    }

    /// Notes what is in use.
    pub(crate) fn measure(&self, sizes: Sizes, layer_bytes: usize) {
        self.used.store(sizes.in_use + layer_bytes as u64, Ordering::Relaxed);
    }
}
