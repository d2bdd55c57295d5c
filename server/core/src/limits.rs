//! The bounds of the core, with the relations between them.

/// Versions in one chunk of a memtable's log. A chunk is allocated whole, so the log grows without
/// copying.
pub const MEMTABLE_LOG_CHUNK: usize = 1024;

/// Keys in one block of a counted map: few enough that an insertion moves little, but enough that a
/// memtable has only a few thousand blocks.
pub const COUNTED_BLOCK_ENTRIES_MAX: usize = 128;

/// Keys that a range scan copies out of a memtable at once, under the memtable's lock.
pub const MEMTABLE_SCAN_CHUNK: usize = 256;

/// Bytes that a version takes in a memtable in addition to its key and value.
pub const RECORD_OVERHEAD_BYTES: usize = 192;

/// The longest TTL a lease can have, in seconds.
pub const LEASE_TTL_SECONDS_MAX: i64 = 9_000_000_000;

/// Maximum number of alarms that may be raised for ids that no member has. etcd has no such bound.
pub const STRANGERS_ALARMS_MAX: usize = 16;

/// Watch ranges that the matcher keeps unsorted before it rebuilds its index.
pub const MATCHER_PENDING_MAX: usize = 256;

const _: () = assert!(
    MEMTABLE_SCAN_CHUNK >= COUNTED_BLOCK_ENTRIES_MAX,
    "a scan copies at least one block each time it takes the lock"
);
