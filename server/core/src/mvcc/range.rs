//! The Range request.

use std::cmp::Ordering;
use std::ops::ControlFlow;

use bytes::Bytes;
use quorate_proto::etcdserverpb::RangeRequest;
use quorate_proto::etcdserverpb::range_request::{SortOrder, SortTarget};
use quorate_proto::mvccpb::KeyValue;

use super::view::View;
use crate::{Error, KeyRange, RecordRef};

/// A sorted range with a limit collects at least this many keys before it drops those beyond the
/// limit.
const PRUNED_FROM: usize = 1024;

/// Receives the rows of a range one by one.
pub trait RowSink {
    /// Receives a row. `Break` ends the range early, for instance if the client has given up.
    fn row(&mut self, row: RecordRef<'_>) -> ControlFlow<()>;
}

impl RowSink for Vec<KeyValue> {
    fn row(&mut self, row: RecordRef<'_>) -> ControlFlow<()> {
        self.push(KeyValue {
            key: Bytes::copy_from_slice(row.key),
            create_revision: row.create_revision,
            mod_revision: row.revision.main,
            version: row.version,
            value: Bytes::copy_from_slice(row.value),
            lease: row.lease,
        });
        ControlFlow::Continue(())
    }
}

/// The result of a range, except its rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RangeSummary {
    /// Whether the limit left out rows.
    pub more: bool,
    /// Number of keys that exist in the range, regardless of the limit and the revision filters.
    pub count: i64,
}

/// Whether a limit can end the scan early, because the request has no sort order or sorts by key
/// ascending.
pub fn is_default_order(request: &RangeRequest) -> bool {
    request.sort_order == SortOrder::None as i32
        || (request.sort_target == SortTarget::Key as i32
            && request.sort_order == SortOrder::Ascend as i32)
}

/// Whether the request filters rows by create or mod revision.
pub fn has_revision_filters(request: &RangeRequest) -> bool {
    request.min_mod_revision != 0
        || request.max_mod_revision != 0
        || request.min_create_revision != 0
        || request.max_create_revision != 0
}

/// Whether the answer has all rows in key order, so that each row can be sent when it is found.
pub fn is_in_key_order(request: &RangeRequest) -> bool {
    let sorts_late = request.sort_target != SortTarget::Key as i32;
    is_default_order(request) && !has_revision_filters(request) && !sorts_late
}

/// The keys of a range in the order of its answer.
#[derive(Clone, Debug, Default)]
pub struct SortedKeys {
    /// The keys.
    pub keys: Vec<Bytes>,
    /// The result, except the rows.
    pub summary: RangeSummary,
}

/// The interval of keys in a range request.
pub fn key_range(request: &RangeRequest) -> KeyRange {
    KeyRange::from_wire(request.key.clone(), request.range_end.clone())
}

impl View {
    /// Executes a range request and passes its rows to `sink` in the order of the answer. The
    /// caller must have checked the request's enums. If a limit hides rows, the exact count costs
    /// extra; without `with_count` the count is then the number of rows seen.
    ///
    /// # Errors
    /// The revision is compacted or in the future, or the database cannot be read.
    pub fn range(
        &self,
        request: &RangeRequest,
        with_count: bool,
        sink: &mut dyn RowSink,
    ) -> Result<RangeSummary, Error> {
        let at = self.resolve(request.revision)?;
        let range = key_range(request);
        if request.count_only {
            return Ok(RangeSummary { more: false, count: self.count(&range, at)? });
        }
        if is_in_key_order(request) {
            return self.range_in_key_order(request, &range, at, with_count, sink);
        }
        let sorted = self.sorted_keys(request, with_count)?;
        self.rows(request, &sorted.keys, sink)?;
        Ok(sorted.summary)
    }

    /// Passes the rows of `keys` to `sink` until it breaks. The keys are from [`View::sorted_keys`]
    /// with the same request.
    ///
    /// # Errors
    /// The revision is compacted or in the future, or the database cannot be read.
    pub fn rows(
        &self,
        request: &RangeRequest,
        keys: &[Bytes],
        sink: &mut dyn RowSink,
    ) -> Result<(), Error> {
        let at = self.resolve(request.revision)?;
        let mut steps = self.context.steps();
        for key in keys {
            let Some(record) = self.get(key, at)? else { continue };
            let mut row = record.as_ref();
            if request.keys_only {
                row = key_alone(request, row);
            }
            if sink.row(row).is_break() || !steps.continues() {
                break;
            }
        }
        Ok(())
    }

    /// Finds the keys of a sorted or filtered range, in the order of the answer. Keeps only the key
    /// and the sort field of each row in memory.
    ///
    /// # Errors
    /// The revision is compacted or in the future, or the database cannot be read.
    pub fn sorted_keys(
        &self,
        request: &RangeRequest,
        with_count: bool,
    ) -> Result<SortedKeys, Error> {
        let at = self.resolve(request.revision)?;
        let range = key_range(request);
        let filters = has_revision_filters(request);
        // As in etcd, a sort target without an order sorts the rows of the unsorted answer.
        let walk_limit = if is_default_order(request) && !filters { request.limit } else { 0 };
        let walk_limit = usize::try_from(walk_limit).unwrap_or(0);
        let limit = usize::try_from(request.limit).unwrap_or(0);
        let values = request.sort_target == SortTarget::Value as i32;
        let mut keys: Vec<SortKey> = Vec::new();
        let mut seen = 0;
        let mut passed = 0;
        self.walk(&range, at, values, &mut |row| {
            if walk_limit > 0 && seen > walk_limit {
                return ControlFlow::Break(());
            }
            seen += 1;
            if passes_filters(request, row) {
                passed += 1;
                let key = SortKey::new(request, row);
                self.context.keep(key.bytes());
                keys.push(key);
                // Drop keys that can no longer be within the limit.
                if limit > 0 && keys.len() >= limit.saturating_mul(2).max(PRUNED_FROM) {
                    sort(request, &mut keys);
                    keys.truncate(limit);
                }
            }
            ControlFlow::Continue(())
        })?;
        let count = if walk_limit > 0 && seen > walk_limit && with_count {
            self.count(&range, at)?
        } else {
            i64::try_from(seen).expect("fewer rows than i64::MAX")
        };
        sort(request, &mut keys);
        let more = limit > 0 && passed > limit;
        if more {
            keys.truncate(limit);
        }
        let keys = keys.into_iter().map(|sorted| sorted.key).collect();
        Ok(SortedKeys { keys, summary: RangeSummary { more, count } })
    }

    fn range_in_key_order(
        &self,
        request: &RangeRequest,
        range: &KeyRange,
        at: i64,
        with_count: bool,
        sink: &mut dyn RowSink,
    ) -> Result<RangeSummary, Error> {
        let limit = u64::try_from(request.limit).unwrap_or(0);
        let mut seen = 0;
        let mut more = false;
        self.walk(range, at, !request.keys_only, &mut |row| {
            if limit > 0 && seen == limit {
                more = true;
                return ControlFlow::Break(());
            }
            seen += 1;
            sink.row(if request.keys_only { key_alone(request, row) } else { row })
        })?;
        let count = if more && with_count {
            self.count(range, at)?
        } else {
            i64::try_from(seen).expect("fewer rows than i64::MAX")
        };
        Ok(RangeSummary { more, count })
    }

    /// Calls `visit` with the keys of `range` at main revision `at`, ascending, until it breaks.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn walk(
        &self,
        range: &KeyRange,
        at: i64,
        values: bool,
        visit: &mut dyn FnMut(RecordRef<'_>) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        if range.is_single() {
            if let Some(record) = self.get(&range.start, at)? {
                let _done = visit(record.as_ref());
            }
            return Ok(());
        }
        let mut walk = self.stack.scan(range, at, values, &self.context)?;
        while walk.advance()? {
            if visit(walk.record()).is_break() {
                break;
            }
        }
        Ok(())
    }
}

/// A row of a request with `keys_only`. As in etcd 3.7, it has a lease only if the range read the
/// values, which it does to sort by value.
fn key_alone<'a>(request: &RangeRequest, row: RecordRef<'a>) -> RecordRef<'a> {
    let by_value = request.sort_target == SortTarget::Value as i32;
    let lease = if by_value { row.lease } else { 0 };
    RecordRef { value: &[], lease, ..row }
}

fn passes_filters(request: &RangeRequest, row: RecordRef<'_>) -> bool {
    let within =
        |value: i64, min: i64, max: i64| (max == 0 || value <= max) && (min == 0 || value >= min);
    within(row.revision.main, request.min_mod_revision, request.max_mod_revision)
        && within(row.create_revision, request.min_create_revision, request.max_create_revision)
}

/// A key and its sort field.
struct SortKey {
    key: Bytes,
    number: i64,
    value: Bytes,
}

impl SortKey {
    fn new(request: &RangeRequest, row: RecordRef<'_>) -> Self {
        let number = match request.sort_target() {
            SortTarget::Version => row.version,
            SortTarget::Create => row.create_revision,
            SortTarget::Mod => row.revision.main,
            SortTarget::Key | SortTarget::Value => 0,
        };
        let value = match request.sort_target() {
            SortTarget::Value => Bytes::copy_from_slice(row.value),
            _ => Bytes::new(),
        };
        Self { key: Bytes::copy_from_slice(row.key), number, value }
    }

    /// Approximate memory in bytes.
    fn bytes(&self) -> usize {
        size_of::<Self>() + self.key.len() + self.value.len()
    }
}

/// Sorts by the request's target. Rows with equal sort fields stay in key order.
fn sort(request: &RangeRequest, keys: &mut [SortKey]) {
    let by: fn(&SortKey, &SortKey) -> Ordering = match request.sort_target() {
        SortTarget::Key => |a, b| a.key.cmp(&b.key),
        SortTarget::Value => |a, b| a.value.cmp(&b.value),
        SortTarget::Version | SortTarget::Create | SortTarget::Mod => {
            |a, b| a.number.cmp(&b.number)
        }
    };
    match request.sort_order() {
        SortOrder::Descend => keys.sort_by(|a, b| by(b, a)),
        SortOrder::Ascend => keys.sort_by(by),
        SortOrder::None if request.sort_target() != SortTarget::Key => keys.sort_by(by),
        SortOrder::None => {}
    }
}
