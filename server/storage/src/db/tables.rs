//! All tables of the database. Their names are on disk and are never reused for other content.

use std::ops::RangeInclusive;

use quorate_core::Revision;
use redb::{Key, TableDefinition, Value};

/// An encoded revision: 12 bytes that sort as revisions do.
pub(super) type RevisionKey = [u8; Revision::ENCODED_LEN];

/// Key -> its newest version; see [`super::row::LatestRow`].
pub(super) const LATEST: TableDefinition<&[u8], &[u8]> = TableDefinition::new("latest");

/// Revision -> version; see [`super::row::HistoryRow`].
pub(super) const HISTORY: TableDefinition<&RevisionKey, &[u8]> = TableDefinition::new("history");

/// First key of a block of `latest` -> number of existing keys in the block, and number of its
/// rows including tombstones. The first block begins at the empty key.
pub(super) const COUNT: TableDefinition<&[u8], (u32, u32)> = TableDefinition::new("count");

/// Lease id -> granted seconds, and a number that is always 0.
pub(super) const LEASE: TableDefinition<i64, (i64, i64)> = TableDefinition::new("lease");

/// Lease id and attached key; see [`super::row::lease_key`].
pub(super) const LEASE_KEY: TableDefinition<&[u8], ()> = TableDefinition::new("lease_key");

/// Raised alarms: type and member id.
pub(super) const ALARM: TableDefinition<(i32, u64), ()> = TableDefinition::new("alarm");

/// Member id -> incarnation of the member, and a list: its name, then its client URLs.
pub(super) const MEMBER: TableDefinition<u64, (u64, Vec<&str>)> = TableDefinition::new("member");

/// Ids of removed members.
pub(super) const REMOVED: TableDefinition<u64, ()> = TableDefinition::new("removed");

/// Two rows: the encoded [`super::meta::Meta`], and users and roles.
pub(super) const META: TableDefinition<&str, &[u8]> = TableDefinition::new("meta");

/// Key of the encoded [`super::meta::Meta`] in [`META`].
pub(super) const META_KEY: &str = "state";
/// Key of users and roles in [`META`]; see [`super::auth`]. There is no such row before their first
/// change.
pub(super) const AUTH_KEY: &str = "auth";

/// An operation on a table of any key and value types.
pub(super) trait Visitor {
    type Output;

    fn visit<K: Key + 'static, V: Value + 'static>(
        self,
        table: TableDefinition<'static, K, V>,
    ) -> Self::Output;
}

/// Numbers of the tables that a snapshot sends row by row, in order of sending. The other tables
/// are small, and are part of the trailer.
pub(super) const SENT_TABLES: RangeInclusive<u32> = 1..=5;

/// The number of [`HISTORY`].
pub(super) const HISTORY_NUMBER: u32 = 1;
/// The number of [`LATEST`].
pub(super) const LATEST_NUMBER: u32 = 2;
/// The number of [`LEASE_KEY`].
pub(super) const LEASE_KEY_NUMBER: u32 = 5;

/// Calls `visitor` with table `number`; `None` if there is no such table. The numbers are part of
/// the protocol between members and are never reused for another table.
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

/// Whether `bytes` have the fixed width of type `V`, if `V` has one.
pub(super) fn fits<V: Value>(bytes: &[u8]) -> bool {
    V::fixed_width().is_none_or(|width| width == bytes.len())
}
