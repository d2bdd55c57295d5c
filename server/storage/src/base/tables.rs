//! The keyspace on one screen. Names are on disk and never reused for something else.

use quorate_core::Revision;
use redb::TableDefinition;

/// Revision as a key: 12 bytes that sort as revisions do.
pub(super) type RevisionKey = [u8; Revision::ENCODED_LEN];

/// Key to its newest version; see [`super::row::LatestRow`].
pub(super) const LATEST: TableDefinition<&[u8], &[u8]> = TableDefinition::new("latest");

/// Revision to version; see [`super::row::HistoryRow`].
pub(super) const HISTORY: TableDefinition<&RevisionKey, &[u8]> = TableDefinition::new("history");

/// First key of a block of `latest` to the number of keys that exist in it and of its rows, which
/// include tombstones. The first block begins at the empty key.
pub(super) const COUNT: TableDefinition<&[u8], (u32, u32)> = TableDefinition::new("count");

/// Lease to granted and remaining seconds.
pub(super) const LEASE: TableDefinition<i64, (i64, i64)> = TableDefinition::new("lease");

/// Lease and key that is attached to it; see [`super::row::lease_key`].
pub(super) const LEASE_KEY: TableDefinition<&[u8], ()> = TableDefinition::new("lease_key");

/// Raised alarms: type and member.
pub(super) const ALARM: TableDefinition<(i32, u64), ()> = TableDefinition::new("alarm");

/// Member to its attributes: incarnation; name, then client URLs.
pub(super) const MEMBER: TableDefinition<u64, (u64, Vec<&str>)> = TableDefinition::new("member");

/// Members that were removed.
pub(super) const REMOVED: TableDefinition<u64, ()> = TableDefinition::new("removed");

/// One row: what the database is complete up to; see [`super::meta::Meta`].
pub(super) const META: TableDefinition<&str, &[u8]> = TableDefinition::new("meta");

/// Key of the only row of [`META`].
pub(super) const META_KEY: &str = "state";
