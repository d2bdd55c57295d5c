//! How many keys a command goes through that it does not name one by one.

use bytes::Bytes;
use quorate_proto::etcdserverpb::TxnRequest;
use quorate_proto::etcdserverpb::request_op::Request;

use crate::command::Command;
use crate::error::Fault;
use crate::key::KeyRange;
use crate::store::Store;

/// What a command goes through.
#[derive(Default)]
struct Reach {
    ranges: Vec<KeyRange>,
    leases: Vec<i64>,
    /// It reads a range at an earlier revision, where there may have been any number of keys.
    has_past: bool,
}

impl Reach {
    fn of(command: &Command) -> Self {
        let mut reach = Self::default();
        match command {
            Command::DeleteRange(delete) => reach.add(&delete.key, &delete.range_end),
            Command::Txn(txn) => reach.add_txn(txn),
            Command::LeaseRevoke(revoke) => reach.leases.push(revoke.id),
            Command::LeaseExpire(expire) => reach.leases.clone_from(&expire.ids),
            Command::Put(_)
            | Command::Compact(_)
            | Command::LeaseGrant(_)
            | Command::Alarm(_)
            | Command::MemberPublish(_) => {}
        }
        reach
    }

    fn add(&mut self, key: &Bytes, range_end: &Bytes) {
        if !range_end.is_empty() {
            self.ranges.push(KeyRange::from_wire(key.clone(), range_end.clone()));
        }
    }

    fn add_txn(&mut self, txn: &TxnRequest) {
        for compare in &txn.compare {
            self.add(&compare.key, &compare.range_end);
        }
        for op in txn.success.iter().chain(&txn.failure) {
            match &op.request {
                Some(Request::RequestRange(range)) => {
                    self.add(&range.key, &range.range_end);
                    self.has_past |= range.revision > 0 && !range.range_end.is_empty();
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
    /// Whether it goes through ranges of keys, and not only through those that it names.
    pub fn has_ranges(&self) -> bool {
        !Reach::of(self).ranges.is_empty()
    }
}

impl Store {
    /// Whether a command goes through `keys` keys at most beside those that it names one by one.
    /// Costs no walk over more than that; a command that reads ranges of the past counts as large.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn is_small(&self, command: &Command, keys: usize) -> Result<bool, Fault> {
        let Reach { ranges, leases, has_past } = Reach::of(command);
        let mut sum = 0;
        for range in &ranges {
            let (count, _) = self.stack().count_latest(range)?;
            sum += usize::try_from(count).unwrap_or_default();
        }
        for lease in leases {
            if sum > keys {
                break;
            }
            sum += self.stack().leased_about(lease, keys + 1)?;
        }
        Ok(!has_past && sum <= keys)
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
    use crate::store::{LogPosition, Restored};

    fn store() -> Store {
        let mut store = Store::new(Arc::new(MemoryBase::default()), Restored::default());
        let grant = LeaseGrantRequest { id: 7, ttl: 60 };
        let mut commands = vec![Command::LeaseGrant(grant)];
        for key in ["a1", "a2", "a3", "b1"] {
            let lease = if key == "b1" { 0 } else { 7 };
            let put = PutRequest { key: key.into(), lease, ..Default::default() };
            commands.push(Command::Put(put));
        }
        for (index, command) in (1..).zip(commands) {
            store.apply_decoded(LogPosition { term: 1, index }, command).unwrap().reply.unwrap();
        }
        store
    }

    fn delete(end: &'static str) -> DeleteRangeRequest {
        DeleteRangeRequest { key: "a".into(), range_end: end.into(), ..Default::default() }
    }

    fn txn(request: Request) -> TxnRequest {
        let op = RequestOp { request: Some(request) };
        TxnRequest { failure: vec![op], ..Default::default() }
    }

    #[test]
    fn a_command_is_as_large_as_the_ranges_and_leases_in_it() {
        let store = store();
        let largest = |command: &Command| {
            let is_small = |keys: &usize| store.is_small(command, *keys).unwrap();
            (0..9).find(is_small).unwrap_or(usize::MAX)
        };
        for (end, keys) in [("", 0), ("b", 3), ("c", 4), ("\0", 4), ("a0", 0)] {
            assert_eq!(largest(&Command::DeleteRange(delete(end))), keys, "{end:?}");
            let inner = txn(Request::RequestDeleteRange(delete(end)));
            assert_eq!(largest(&Command::Txn(inner.clone())), keys, "{end:?}");
            assert_eq!(largest(&Command::Txn(txn(Request::RequestTxn(inner)))), keys, "{end:?}");
        }
        assert_eq!(largest(&Command::LeaseRevoke(LeaseRevokeRequest { id: 7 })), 3);
        let expire = LeaseExpire { ids: vec![7, 8, 7] };
        assert_eq!(largest(&Command::LeaseExpire(expire)), 6);
        for (revision, keys) in [(0, 3), (2, usize::MAX)] {
            let (key, range_end) = ("a".into(), "b".into());
            let range = RangeRequest { key, range_end, revision, ..Default::default() };
            assert_eq!(largest(&Command::Txn(txn(Request::RequestRange(range)))), keys);
        }
    }
}
