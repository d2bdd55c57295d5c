//! Ids that the server chooses.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

/// A random lease id: positive, 63 bits, from the random keys of the standard library's hash
/// tables. A collision with an existing lease is practically impossible.
pub(crate) fn random_lease_id() -> i64 {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let id = RandomState::new().hash_one(count) >> 1;
    i64::try_from(id).expect("63 bits fit").max(1)
}
