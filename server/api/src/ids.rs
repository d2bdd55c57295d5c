//! Ids that a server chooses.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

/// A lease id that nobody has: positive, 63 bits, from the randomness that also keys hash tables.
pub(crate) fn random_lease_id() -> i64 {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let id = RandomState::new().hash_one(count) >> 1;
    i64::try_from(id).expect("63 bits fit").max(1)
}
