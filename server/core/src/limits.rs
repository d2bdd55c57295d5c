//! The bounds of the core, with the relations between them.

/// Versions in one chunk of a layer's log: a chunk is allocated whole, so that growing never
/// copies.
pub const LAYER_LOG_CHUNK: usize = 1024;

/// Keys in one block of a counted map: small enough that inserting into the middle moves little,
/// large enough that a layer has few thousand blocks.
pub const COUNTED_BLOCK_ENTRIES_MAX: usize = 128;

/// Keys copied out of a layer at once while a range is scanned: the layer's lock is held meanwhile.
pub const LAYER_SCAN_CHUNK: usize = 256;

/// What a version costs in a layer beside the bytes of its key and value.
pub const RECORD_OVERHEAD_BYTES: usize = 192;

/// The longest TTL a lease can have, in seconds.
pub const LEASE_TTL_SECONDS_MAX: i64 = 9_000_000_000;

/// Alarms that may be raised for ids that are no members': etcd takes any id, and any number of
/// them.
pub const STRANGERS_ALARMS_MAX: usize = 16;

/// Watch ranges kept unsorted before the index over all of them is rebuilt.
pub const MATCHER_PENDING_MAX: usize = 256;

const _: () = assert!(
    LAYER_SCAN_CHUNK >= COUNTED_BLOCK_ENTRIES_MAX,
    "a scan takes at least a block each time it takes the lock"
);
