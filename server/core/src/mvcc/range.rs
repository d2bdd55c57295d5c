//! The Range request.

use std::cmp::Ordering;
use std::ops::ControlFlow;

use bytes::Bytes;
use quorate_proto::etcdserverpb::RangeRequest;
use quorate_proto::etcdserverpb::range_request::{SortOrder, SortTarget};
use quorate_proto::mvccpb::KeyValue;

use super::view::View;
use crate::{Error, KeyRange, RecordRef, Revision};

/// Takes the rows of a range one by one.
pub trait RowSink {
    /// Takes a row; `Break` ends the range early, for instance because nobody waits for it.
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

/// What a range says beside its rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RangeSummary {
    /// Whether rows were left out because of the limit.
    pub more: bool,
    /// How many keys exist in the range, whatever the limit and the revision filters.
    pub count: i64,
}

/// Whether rows come in key order, so that a limit can end the walk: no sorting is asked for, or
/// sorting by key upwards.
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

/// The interval of keys a range request names.
pub fn key_range(request: &RangeRequest) -> KeyRange {
    KeyRange::from_wire(request.key.clone(), request.range_end.clone())
}

impl View {
    /// Executes a range request, giving its rows to `sink` in the order of the answer. The
    /// enumerations must have been checked. Exact counts cost extra only where a limit hides rows;
    /// with `with_count` false the count is then left at the rows seen.
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
        // A sort target without an order sorts what an unsorted range would have returned.
        let sorts_late = request.sort_target != SortTarget::Key as i32;
        let filters = has_revision_filters(request);
        if is_default_order(request) && !filters && !sorts_late {
            return self.range_in_key_order(request, &range, at, with_count, sink);
        }
        let walk_limit = if is_default_order(request) && !filters { request.limit } else { 0 };
        let mut rows = Vec::new();
        let seen = self.walk_rows(request, &range, at, walk_limit, &mut rows)?;
        let count = match seen.more && with_count {
            true => self.count(&range, at)?,
            false => seen.count,
        };
        rows.retain(|row| passes_filters(request, row));
        sort(request, &mut rows);
        let limit = usize::try_from(request.limit).unwrap_or(0);
        let more = limit > 0 && rows.len() > limit;
        if more {
            rows.truncate(limit);
        }
        for row in &rows {
            let row = if request.keys_only { without_value(row_ref(row)) } else { row_ref(row) };
            if sink.row(row).is_break() {
                break;
            }
        }
        Ok(RangeSummary { more, count })
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
            match request.keys_only {
                // Answered from keys alone, so the lease is not known, as in etcd 3.7.
                true => sink.row(RecordRef { lease: 0, ..without_value(row) }),
                false => sink.row(row),
            }
        })?;
        let count = match more && with_count {
            true => self.count(range, at)?,
            false => i64::try_from(seen).expect("fewer rows than i64::MAX"),
        };
        Ok(RangeSummary { more, count })
    }

    /// Collects rows for sorting and filtering: one more than the limit, which tells whether more
    /// were there. The summary's count is of the rows walked over.
    fn walk_rows(
        &self,
        request: &RangeRequest,
        range: &KeyRange,
        at: i64,
        limit: i64,
        rows: &mut Vec<KeyValue>,
    ) -> Result<RangeSummary, Error> {
        let values = !request.keys_only || request.sort_target == SortTarget::Value as i32;
        let limit = usize::try_from(limit).unwrap_or(0);
        self.walk(range, at, values, &mut |row| {
            if limit > 0 && rows.len() > limit {
                return ControlFlow::Break(());
            }
            let row = if values { row } else { RecordRef { lease: 0, ..without_value(row) } };
            rows.row(row)
        })?;
        let count = i64::try_from(rows.len()).expect("fewer rows than i64::MAX");
        Ok(RangeSummary { more: limit > 0 && rows.len() > limit, count })
    }

    /// Shows the keys of `range` at main revision `at` to `visit` until it breaks.
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
        let mut walk = self.stack.scan(range, at, values)?;
        while walk.advance()? {
            if visit(walk.record()).is_break() {
                break;
            }
        }
        Ok(())
    }
}

fn without_value(row: RecordRef<'_>) -> RecordRef<'_> {
    RecordRef { value: &[], ..row }
}

fn row_ref(row: &KeyValue) -> RecordRef<'_> {
    RecordRef {
        key: &row.key,
        value: &row.value,
        revision: Revision::start_of(row.mod_revision),
        create_revision: row.create_revision,
        version: row.version,
        lease: row.lease,
        previous: Revision::NONE,
    }
}

fn passes_filters(request: &RangeRequest, row: &KeyValue) -> bool {
    let within =
        |value: i64, min: i64, max: i64| (max == 0 || value <= max) && (min == 0 || value >= min);
    within(row.mod_revision, request.min_mod_revision, request.max_mod_revision)
        && within(row.create_revision, request.min_create_revision, request.max_create_revision)
}

/// Sorts by the request's target; rows that are equal by it stay in key order.
fn sort(request: &RangeRequest, rows: &mut [KeyValue]) {
    let by: fn(&KeyValue, &KeyValue) -> Ordering = match request.sort_target() {
        SortTarget::Key => |a, b| a.key.cmp(&b.key),
        SortTarget::Version => |a, b| a.version.cmp(&b.version),
        SortTarget::Create => |a, b| a.create_revision.cmp(&b.create_revision),
        SortTarget::Mod => |a, b| a.mod_revision.cmp(&b.mod_revision),
        SortTarget::Value => |a, b| a.value.cmp(&b.value),
    };
    match request.sort_order() {
        SortOrder::Descend => rows.sort_by(|a, b| by(b, a)),
        SortOrder::Ascend => rows.sort_by(by),
        SortOrder::None if request.sort_target() != SortTarget::Key => rows.sort_by(by),
        SortOrder::None => {}
    }
}
