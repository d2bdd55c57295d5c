//! Checks of a request that need no state. The API runs them before it proposes the request.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use quorate_proto::etcdserverpb::range_request::{SortOrder, SortTarget};
use quorate_proto::etcdserverpb::request_op::Request;
use quorate_proto::etcdserverpb::{
    DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest,
};

/// Why a request is invalid: no state of the store could answer it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// A key is empty.
    #[error("the key is empty")]
    EmptyKey,
    /// An operation in a transaction has no request.
    #[error("an operation is empty")]
    EmptyOperation,
    /// A put has both `ignore_value` and a value.
    #[error("ignore_value is set together with a value")]
    ValueProvided,
    /// A put has both `ignore_lease` and a lease.
    #[error("ignore_lease is set together with a lease")]
    LeaseProvided,
    /// A transaction has too many comparisons or operations.
    #[error("the transaction has too many operations")]
    TooManyOperations,
    /// A transaction writes one key twice.
    #[error("the transaction writes a key twice")]
    DuplicateKey,
    /// A sort order or target is unknown.
    #[error("the sort order or target is unknown")]
    SortOption,
}

/// Checks a Range request.
///
/// # Errors
/// The key is empty, or the sort order or target is unknown.
pub fn check_range(request: &RangeRequest) -> Result<(), Invalid> {
    if request.key.is_empty() {
        return Err(Invalid::EmptyKey);
    }
    let known = SortOrder::try_from(request.sort_order).is_ok()
        && SortTarget::try_from(request.sort_target).is_ok();
    if known { Ok(()) } else { Err(Invalid::SortOption) }
}

/// Checks a Put request.
///
/// # Errors
/// The key is empty, or a value or lease comes with the option to ignore it.
pub fn check_put(request: &PutRequest) -> Result<(), Invalid> {
    if request.key.is_empty() {
        return Err(Invalid::EmptyKey);
    }
    if request.ignore_value && !request.value.is_empty() {
        return Err(Invalid::ValueProvided);
    }
    if request.ignore_lease && request.lease != 0 {
        return Err(Invalid::LeaseProvided);
    }
    Ok(())
}

/// Checks a DeleteRange request.
///
/// # Errors
/// The key is empty.
pub fn check_delete_range(request: &DeleteRangeRequest) -> Result<(), Invalid> {
    if request.key.is_empty() { Err(Invalid::EmptyKey) } else { Ok(()) }
}

/// Checks a Txn request and everything nested in it. Its comparisons and each branch may have
/// `operations_max` entries. The limit of a nested transaction is the limit of the enclosing one
/// minus the length of its longest list, which also bounds the nesting.
///
/// # Errors
/// An operation is invalid, there are too many, or a branch writes a key twice.
pub fn check_txn(request: &TxnRequest, operations_max: usize) -> Result<(), Invalid> {
    check_operations(request, operations_max)?;
    Writes::of(&request.success)?;
    Writes::of(&request.failure)?;
    Ok(())
}

/// Checks each operation of a Txn request and everything nested in it, but does not look for keys
/// that are written twice.
///
/// # Errors
/// An operation is invalid, or there are too many.
pub fn check_operations(request: &TxnRequest, operations_max: usize) -> Result<(), Invalid> {
    let used = request.compare.len().max(request.success.len()).max(request.failure.len());
    let Some(left) = operations_max.checked_sub(used) else {
        return Err(Invalid::TooManyOperations);
    };
    if request.compare.iter().any(|compare| compare.key.is_empty()) {
        return Err(Invalid::EmptyKey);
    }
    for op in request.success.iter().chain(&request.failure) {
        match &op.request {
            None => return Err(Invalid::EmptyOperation),
            Some(Request::RequestRange(range)) => check_range(range)?,
            Some(Request::RequestPut(put)) => check_put(put)?,
            Some(Request::RequestDeleteRange(delete)) => check_delete_range(delete)?,
            Some(Request::RequestTxn(txn)) => check_operations(txn, left)?,
        }
    }
    Ok(())
}

/// A set of keys as disjoint half-open intervals: start to end.
#[derive(Debug, Default)]
struct Intervals(BTreeMap<Bytes, Bytes>);

impl Intervals {
    fn insert(&mut self, mut start: Bytes, mut end: Bytes) {
        if end <= start {
            return;
        }
        while let Some((s, e)) = self.0.range(..=end.clone()).next_back()
            && *e >= start
        {
            let s = s.clone();
            let e = e.clone();
            self.0.remove(&s);
            start = start.min(s);
            end = end.max(e);
        }
        self.0.insert(start, end);
    }

    fn contains(&self, key: &Bytes) -> bool {
        self.0.range(..=key.clone()).next_back().is_some_and(|(_, end)| key < end)
    }
}

/// The keys one branch puts and the intervals it deletes.
///
/// Two puts of a key in one branch are refused, and so is a put of a key that the branch deletes.
/// etcd's check has two holes that clients can see, so this check has them too: a delete without a
/// range end (`\0`) never conflicts, and a put in a nested transaction does not conflict with a
/// delete in a later nested transaction of the same branch.
#[derive(Debug, Default)]
struct Writes {
    puts: BTreeSet<Bytes>,
    deletes: Intervals,
}

impl Writes {
    fn of(branch: &[RequestOp]) -> Result<Self, Invalid> {
        let mut writes = Self::default();
        for op in branch {
            if let Some(Request::RequestDeleteRange(delete)) = &op.request {
                writes.delete(delete);
            }
        }
        for op in branch {
            if let Some(Request::RequestTxn(txn)) = &op.request {
                writes.nest(txn)?;
            }
        }
        for op in branch {
            if let Some(Request::RequestPut(put)) = &op.request {
                writes.put(&put.key, None)?;
            }
        }
        Ok(writes)
    }

    fn delete(&mut self, delete: &DeleteRangeRequest) {
        let end = if delete.range_end.is_empty() {
            [delete.key.as_ref(), &[0]].concat().into()
        } else {
            delete.range_end.clone()
        };
        self.deletes.insert(delete.key.clone(), end);
    }

    /// Adds a put. `exclusive` has the puts of the other branch of its transaction: only one of the
    /// two branches runs.
    fn put(&mut self, key: &Bytes, exclusive: Option<&BTreeSet<Bytes>>) -> Result<(), Invalid> {
        let excluded = exclusive.is_some_and(|puts| puts.contains(key));
        if (self.puts.contains(key) && !excluded) || self.deletes.contains(key) {
            return Err(Invalid::DuplicateKey);
        }
        self.puts.insert(key.clone());
        Ok(())
    }

    fn nest(&mut self, txn: &TxnRequest) -> Result<(), Invalid> {
        let success = Self::of(&txn.success)?;
        let failure = Self::of(&txn.failure)?;
        for key in &success.puts {
            self.put(key, None)?;
        }
        for key in &failure.puts {
            self.put(key, Some(&success.puts))?;
        }
        for (start, end) in success.deletes.0.into_iter().chain(failure.deletes.0) {
            self.deletes.insert(start, end);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn intervals_are_a_set(
            inserts in prop::collection::vec((0u8..40, 0u8..40), 0..30),
            probes in prop::collection::vec(0u8..42, 1..40),
        ) {
            let key = |n: u8| Bytes::from(vec![n]);
            let mut set = Intervals::default();
            for (a, b) in &inserts {
                set.insert(key(*a), key(*b));
            }
            for p in probes {
                let expected = inserts.iter().any(|(a, b)| *a <= p && p < *b);
                prop_assert_eq!(set.contains(&key(p)), expected);
            }
        }
    }
}
