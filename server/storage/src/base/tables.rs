//! The keyspace on one screen. Names are on disk and never reused for something else.

use std::ops::RangeInclusive;

use quorate_core::Revision;
use redb::{Key, TableDefinition, Value};

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

/// Something that is done with a table whatever its types are.
pub(super) trait Visitor {
    type Output;

    fn visit<K: Key + 'static, V: Value + 'static>(
        self,
        table: TableDefinition<'static, K, V>,
    ) -> Self::Output;
}

/// Numbers of the tables that grow with the state, in the order in which they are sent to another
/// member.
pub(super) const SENT_TABLES: RangeInclusive<u32> = 1..=5;

/// The number of [`HISTORY`].
pub(super) const HISTORY_NUMBER: u32 = 1;
/// The number of [`LATEST`].
pub(super) const LATEST_NUMBER: u32 = 2;
/// The number of [`LEASE_KEY`].
pub(super) const LEASE_KEY_NUMBER: u32 = 5;

/// Calls `visitor` with the table of this number; `None` if there is none. The numbers go over the
/// wire and are never used for something else.
pub(super) fn visit<V: Visitor>(number: u32, visitor: V) -> Option<V::Output> {
    Some(match number {
        HISTORY_NUMBER => visitor.visit(HISTORY),
        LATEST_NUMBER => visitor.visit(LATEST),
        3 => visitor.visit(COUNT),
        4 => visitor.visit(LEASE),
        LEASE_KEY_NUMBER => visitor.visit(LEASE_KEY),
        _ => return None,
    })
}

/// Whether these bytes have the width that values of type `V` have.
pub(super) fn fits<V: Value>(bytes: &[u8]) -> bool {
    V::fixed_width().is_none_or(|width| width == bytes.len())
}
