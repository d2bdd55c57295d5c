//! Estimates the work of a command: its operations, and the keys of its ranges and leases.

use bytes::Bytes;
use quorate_proto::etcdserverpb::TxnRequest;
use quorate_proto::etcdserverpb::request_op::Request;

use crate::auth::{Needs, Origin, Right};
use crate::command::Command;
use crate::error::Fault;
use crate::key::KeyRange;
use crate::store::Store;

/// The ranges and leases in a command.
#[derive(Default)]
struct Footprint {
    ranges: Vec<KeyRange>,
    leases: Vec<i64>,
    /// Number of the comparisons and operations of a transaction, of both branches.
    operations: usize,
    /// Whether the command reads a range at an earlier revision, which may have any number of keys.
    reads_past: bool,
}

impl Footprint {
    fn of(command: &Command) -> Self {
        let mut footprint = Self::default();
        match command {
            Command::DeleteRange(delete) => footprint.add(&delete.key, &delete.range_end),
            Command::Txn(txn) => footprint.add_txn(txn),
            Command::LeaseRevoke(revoke) => footprint.leases.push(revoke.id),
            Command::LeaseExpire(expire) => footprint.leases.clone_from(&expire.ids),
            Command::Put(_)
            | Command::Compact(_)
            | Command::LeaseGrant(_)
            | Command::Alarm(_)
            | Command::MemberPublish(_)
            | Command::Auth(_)
            | Command::Authenticate(_) => {}
        }
        footprint
    }

    /// Adds the leases whose keys a check of the user's rights has to read.
    fn add_checked(&mut self, command: &Command) {
        // The most frequent commands read no lease.
        if matches!(command, Command::Put(put) if put.lease == 0) {
            return;
        }
        let Needs::Rights(rights) = Needs::of(command) else { return };
        self.leases.extend(rights.iter().filter_map(|right| match right {
            Right::Lease(_, lease) => Some(*lease),
            Right::Range(..) => None,
        }));
    }

    fn add(&mut self, key: &Bytes, range_end: &Bytes) {
        if !range_end.is_empty() {
            self.ranges.push(KeyRange::from_wire(key.clone(), range_end.clone()));
        }
    }

    fn add_txn(&mut self, txn: &TxnRequest) {
        self.operations += txn.compare.len() + txn.success.len() + txn.failure.len();
        for compare in &txn.compare {
            self.add(&compare.key, &compare.range_end);
        }
        for op in txn.success.iter().chain(&txn.failure) {
            match &op.request {
                Some(Request::RequestRange(range)) => {
                    self.add(&range.key, &range.range_end);
                    self.reads_past |= range.revision > 0 && !range.range_end.is_empty();
                }
                Some(Request::RequestDeleteRange(delete)) => {
                    self.add(&delete.key, &delete.range_end);
                }
                Some(Request::RequestTxn(nested)) => self.add_txn(nested),
                Some(Request::RequestPut(_)) | None => {}
            }
        }
    }
}

impl Command {
    /// Whether the command reads or deletes ranges of keys, and not only single keys.
    pub fn has_ranges(&self) -> bool {
        !Footprint::of(self).ranges.is_empty()
    }
}

impl Store {
    /// Whether the operations of a command and the keys of its ranges and leases are together at
    /// most `most`. The keys of the leases that a check of the user's rights reads count, too.
    /// Counts the keys of ranges without scans, and at most about `most` keys of leases. A command
    /// that reads a range at an earlier revision is never small.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn is_small(&self, command: &Command, origin: &Origin, most: usize) -> Result<bool, Fault> {
        let mut footprint = Footprint::of(command);
        if matches!(origin, Origin::User { .. }) {
            footprint.add_checked(command);
        }
        let Footprint { ranges, leases, operations, reads_past } = footprint;
        let mut sum = operations;
        if reads_past || sum > most {
            return Ok(false);
        }
        for range in &ranges {
            let (count, _) = self.stack().count_latest(range)?;
            sum += usize::try_from(count).unwrap_or_default();
        }
        for lease in leases {
            if sum > most {
                break;
            }
            sum += self.stack().leased_about(lease, most + 1)?;
        }
        Ok(sum <= most)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use quorate_proto::etcdserverpb::{
        DeleteRangeRequest, LeaseGrantRequest, LeaseRevokeRequest, PutRequest, RangeRequest,
        RequestOp,
    };

    use super::*;
    use crate::base::memory::MemoryBase;
    use crate::command::LeaseExpire;
    use crate::store::{LogPosition, RestoredState};

    fn store() -> Store {
        let mut store = Store::new(Arc::new(MemoryBase::default()), RestoredState::default());
        let grant = LeaseGrantRequest { id: 7, ttl: 60 };
        let mut commands = vec![Command::LeaseGrant(grant)];
        for key in ["a1", "a2", "a3", "b1"] {
            let lease = if key == "b1" { 0 } else { 7 };
            let put = PutRequest { key: key.into(), lease, ..Default::default() };
            commands.push(Command::Put(put));
        }
        for (index, command) in (1..).zip(commands) {
            let at = LogPosition { term: 1, index };
            store.apply_decoded(at, command, &Origin::Unknown).unwrap().reply.unwrap();
        }
        store
    }

    fn delete(end: &'static str) -> DeleteRangeRequest {
        DeleteRangeRequest { key: "a".into(), range_end: end.into(), ..Default::default() }
    }

    fn between(key: &'static str, range_end: &'static str) -> RangeRequest {
        RangeRequest { key: key.into(), range_end: range_end.into(), ..Default::default() }
    }

    fn txn(request: Request) -> TxnRequest {
        let op = RequestOp { request: Some(request) };
        TxnRequest { failure: vec![op], ..Default::default() }
    }

    #[test]
    fn counts_operations_and_the_keys_of_ranges_and_leases() {
        let store = store();
        let largest = |command: &Command| {
            let is_small = |keys: &usize| store.is_small(command, &Origin::Unknown, *keys).unwrap();
            (0..9).find(is_small).unwrap_or(usize::MAX)
        };
        for (end, keys) in [("", 0), ("b", 3), ("c", 4), ("\0", 4), ("a0", 0)] {
            assert_eq!(largest(&Command::DeleteRange(delete(end))), keys, "{end:?}");
            let inner = txn(Request::RequestDeleteRange(delete(end)));
            assert_eq!(largest(&Command::Txn(inner.clone())), keys + 1, "{end:?}");
            let outer = txn(Request::RequestTxn(inner));
            assert_eq!(largest(&Command::Txn(outer)), keys + 2, "{end:?}");
        }
        assert_eq!(largest(&Command::LeaseRevoke(LeaseRevokeRequest { id: 7 })), 3);
        let expire = LeaseExpire { ids: vec![7, 8, 7] };
        assert_eq!(largest(&Command::LeaseExpire(expire)), 6);
        let put = PutRequest { key: "c".into(), lease: 7, ..Default::default() };
        let put = Command::Put(put);
        assert_eq!(largest(&put), 0);
        let user = Origin::User { name: "alice".into(), revision: 1 };
        assert!(
            !store.is_small(&put, &user, 2).unwrap() && store.is_small(&put, &user, 3).unwrap()
        );
        for (revision, keys) in [(0, 4), (2, usize::MAX)] {
            let range = RangeRequest { revision, ..between("a", "b") };
            assert_eq!(largest(&Command::Txn(txn(Request::RequestRange(range)))), keys);
        }
    }
}
