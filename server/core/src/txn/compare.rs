//! Evaluating the comparisons of a transaction, which choose the branch that runs.

use std::cmp::Ordering;
use std::ops::ControlFlow;

use quorate_proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use quorate_proto::etcdserverpb::request_op::Request;
use quorate_proto::etcdserverpb::{Compare, TxnRequest};

use crate::mvcc::View;
use crate::{Error, KeyRange, RecordRef, Revision, Tally};

/// Stands for a missing key in comparisons.
const MISSING: RecordRef<'static> = RecordRef {
    key: &[],
    value: &[],
    revision: Revision::NONE,
    create_revision: 0,
    version: 0,
    lease: 0,
    previous: Revision::NONE,
};

/// Decides the transaction and those nested in the chosen branches. Returns whether each of them
/// succeeded, depth first, which is the order of their execution.
pub(crate) fn decide(view: &View, txn: &TxnRequest, tally: &mut Tally) -> Result<Vec<bool>, Error> {
    let mut path = Vec::with_capacity(1);
    descend(view, txn, tally, &mut path)?;
    Ok(path)
}

fn descend(
    view: &View,
    txn: &TxnRequest,
    tally: &mut Tally,
    path: &mut Vec<bool>,
) -> Result<(), Error> {
    let succeeded = all_hold(view, &txn.compare, tally)?;
    path.push(succeeded);
    for op in if succeeded { &txn.success } else { &txn.failure } {
        if let Some(Request::RequestTxn(nested)) = &op.request {
            descend(view, nested, tally, path)?;
        }
    }
    Ok(())
}

fn all_hold(view: &View, compares: &[Compare], tally: &mut Tally) -> Result<bool, Error> {
    for compare in compares {
        tally.range();
        if !holds(view, compare)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether every key of the comparison's range passes. As in etcd, an empty range compares as a key
/// whose numbers are all 0, and a comparison of its value always fails.
fn holds(view: &View, compare: &Compare) -> Result<bool, Error> {
    let range = KeyRange::from_wire(compare.key.clone(), compare.range_end.clone());
    let by_value = compare.target == CompareTarget::Value as i32;
    let mut seen = false;
    let mut passed = true;
    view.walk(&range, view.revision, by_value, &mut |row| {
        seen = true;
        passed = passes(compare, row);
        if passed { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    if seen {
        return Ok(passed);
    }
    Ok(!by_value && passes(compare, MISSING))
}

/// Compares one row. As in etcd, an unknown target compares as equal, an unknown result operator
/// passes, and a missing operand is 0 or empty.
fn passes(compare: &Compare, row: RecordRef<'_>) -> bool {
    let given = compare.target_union.as_ref();
    let number = |actual: i64, given: Option<i64>| actual.cmp(&given.unwrap_or(0));
    let ordering = match CompareTarget::try_from(compare.target) {
        Ok(CompareTarget::Value) => match given {
            Some(TargetUnion::Value(value)) => row.value.cmp(value),
            _ => row.value.cmp(&[]),
        },
        Ok(CompareTarget::Version) => number(
            row.version,
            match given {
                Some(TargetUnion::Version(n)) => Some(*n),
                _ => None,
            },
        ),
        Ok(CompareTarget::Create) => number(
            row.create_revision,
            match given {
                Some(TargetUnion::CreateRevision(n)) => Some(*n),
                _ => None,
            },
        ),
        Ok(CompareTarget::Mod) => number(
            row.revision.main,
            match given {
                Some(TargetUnion::ModRevision(n)) => Some(*n),
                _ => None,
            },
        ),
        Ok(CompareTarget::Lease) => number(
            row.lease,
            match given {
                Some(TargetUnion::Lease(n)) => Some(*n),
                _ => None,
            },
        ),
        Err(_) => Ordering::Equal,
    };
    match CompareResult::try_from(compare.result) {
        Ok(CompareResult::Equal) => ordering.is_eq(),
        Ok(CompareResult::NotEqual) => ordering.is_ne(),
        Ok(CompareResult::Greater) => ordering.is_gt(),
        Ok(CompareResult::Less) => ordering.is_lt(),
        Err(_) => true,
    }
}
