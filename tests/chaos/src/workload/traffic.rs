//! The next request of one client: random, but based on earlier responses.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use bytes::Bytes;
use quorate_proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use quorate_proto::etcdserverpb::request_op::Request as Op;
use quorate_proto::etcdserverpb::watch_create_request::FilterType;
use quorate_proto::etcdserverpb::{
    Compare, DeleteRangeRequest, HashKvRequest, LeaseGrantRequest, LeaseKeepAliveRequest,
    LeaseRevokeRequest, LeaseTimeToLiveRequest, PutRequest, RangeRequest, RequestOp, TxnRequest,
    WatchCreateRequest,
};
use quorate_proto::mvccpb::KeyValue;
use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

use super::value::value;
use crate::history::{Operation, Outcome, Request, Response};

/// The number of keys that all clients write.
pub const SHARED_KEYS: u32 = 64;
/// The number of keys that are attached to leases. Only the end of a lease deletes such a key.
pub const LEASED_KEYS: u32 = 24;
/// The most leases that a client holds.
const LEASES_MAX: usize = 5;
/// The TTL in seconds of most leases: longer than any campaign.
pub const LONG_TTL: i64 = 7200;
/// The TTL in seconds of leases that must expire.
pub const SHORT_TTL: i64 = 3;
/// TTLs of leases in seconds, with their weights.
const TTLS: &[(i64, u32)] = &[(SHORT_TTL, 2), (LONG_TTL, 8)];
/// TTLs of the leases of locks in seconds, with their weights. Such a lease can expire within a
/// campaign or outlive several leaders.
const LOCK_TTLS: &[(i64, u32)] = &[(SHORT_TTL, 2), (10, 3), (60, 3), (LONG_TTL, 2)];
/// How many revisions a read of the past goes back at most.
const PAST_REVISIONS_MAX: i64 = 60;

/// The mix of operations of a client.
#[derive(Clone, Copy, Debug)]
pub struct Profile {
    /// Actions with their weights.
    actions: &'static [(Action, u32)],
    /// Lengths of values with their weights.
    lengths: &'static [(RangeInclusiveConst, u32)],
    /// TTLs of leases in seconds, with their weights.
    ttls: &'static [(i64, u32)],
    /// A client stops by itself after this many operations.
    pub operations_max: usize,
}

type RangeInclusiveConst = (usize, usize);

impl Profile {
    /// The same mix for a client that stops after this many operations.
    #[must_use]
    pub const fn up_to(self, operations_max: usize) -> Self {
        Self { operations_max, ..self }
    }
}

/// All kinds of operations, values from a few bytes to half a megabyte.
pub const MIXED: Profile = Profile {
    actions: &[
        (Action::Put, 34),
        (Action::Swap, 14),
        (Action::PutSeveral, 6),
        (Action::Move, 4),
        (Action::Delete, 7),
        (Action::DeleteRange, 2),
        (Action::PutLeased, 6),
        (Action::Get, 10),
        (Action::List, 5),
        (Action::Past, 3),
        (Action::ReadTxn, 2),
        (Action::Grant, 3),
        (Action::Revoke, 1),
        (Action::KeepAlive, 2),
        (Action::TimeToLive, 2),
        (Action::Status, 1),
        (Action::Hash, 1),
    ],
    lengths: &[
        ((16, 256), 74),
        ((257, 8 << 10), 20),
        ((8 << 10, 64 << 10), 5),
        // Four of these values still fit into one request.
        ((64 << 10, 320 << 10), 1),
    ],
    ttls: TTLS,
    operations_max: usize::MAX,
};

/// Operations for any member, with values small enough to stay in the model for long. There are no
/// reads of past revisions, because for a lagging member these revisions can be in the future.
pub const LASTING: Profile = Profile {
    actions: &[
        (Action::Put, 40),
        (Action::Swap, 14),
        (Action::PutSeveral, 6),
        (Action::Move, 4),
        (Action::Delete, 7),
        (Action::DeleteRange, 2),
        (Action::PutLeased, 6),
        (Action::Get, 10),
        (Action::List, 4),
        (Action::ReadTxn, 2),
        (Action::Grant, 2),
        (Action::Revoke, 1),
        (Action::KeepAlive, 1),
        (Action::TimeToLive, 1),
        (Action::Status, 1),
        (Action::Hash, 1),
    ],
    lengths: &[((16, 256), 80), ((257, 4 << 10), 18), ((4 << 10, 64 << 10), 2)],
    ttls: TTLS,
    operations_max: usize::MAX,
};

/// Puts that fill the log and the database: after some thousands of puts, a new member needs a
/// snapshot.
pub const FILLING: Profile = Profile {
    actions: &[(Action::Put, 1)],
    lengths: &[((4 << 10, 6 << 10), 1)],
    ttls: TTLS,
    operations_max: usize::MAX,
};

/// Large values at full speed: the log and the memtables fill up and are flushed.
pub const BULK: Profile = Profile {
    actions: &[(Action::Put, 9), (Action::Get, 1)],
    lengths: &[((64 << 10, 512 << 10), 1)],
    ttls: TTLS,
    operations_max: 40,
};

/// The traffic of Kubernetes API servers: objects, paged lists, and events that expire with their
/// lease. A client creates an object if the object does not exist, and updates or deletes an object
/// if the object is unchanged since the last read.
pub const KUBERNETES: Profile = Profile {
    actions: &[
        (Action::Swap, 44),
        (Action::Create, 12),
        (Action::Remove, 8),
        (Action::PutLeased, 6),
        (Action::Get, 10),
        (Action::List, 10),
        (Action::Past, 6),
        (Action::Grant, 2),
        (Action::KeepAlive, 2),
    ],
    lengths: &[((64, 2 << 10), 19), ((2 << 10, 64 << 10), 1)],
    ttls: TTLS,
    operations_max: usize::MAX,
};

/// The traffic of elections and locks: leases that are kept alive, and keys that a client creates
/// with its lease if they do not exist. Some puts take over such a key for another lease.
pub const LOCKS: Profile = Profile {
    actions: &[
        (Action::Lock, 30),
        (Action::PutLeased, 10),
        (Action::Get, 8),
        (Action::Grant, 12),
        (Action::Revoke, 10),
        (Action::KeepAlive, 16),
        (Action::TimeToLive, 10),
        (Action::Status, 2),
        (Action::Hash, 2),
    ],
    lengths: &[((16, 64), 1)],
    ttls: LOCK_TTLS,
    operations_max: usize::MAX,
};

/// Reads only.
pub const READS: Profile = Profile {
    actions: &[(Action::Get, 12), (Action::List, 6), (Action::ReadTxn, 2)],
    lengths: &[((16, 64), 1)],
    ttls: TTLS,
    operations_max: usize::MAX,
};

/// So many small values that an absent member misses more entries than the log keeps.
pub const FLOOD: Profile = Profile {
    actions: &[(Action::Put, 1)],
    lengths: &[((16, 64), 1)],
    ttls: TTLS,
    operations_max: usize::MAX,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Put,
    /// Replaces a value if the value is unchanged since the last read.
    Swap,
    /// Creates a key if the key does not exist.
    Create,
    /// Deletes a key if the key is unchanged since the last read.
    Remove,
    /// Creates a key with a lease if the key does not exist.
    Lock,
    PutSeveral,
    /// Puts one key and deletes another at the same revision.
    Move,
    Delete,
    DeleteRange,
    PutLeased,
    Get,
    List,
    /// Reads at an earlier revision.
    Past,
    ReadTxn,
    Grant,
    Revoke,
    KeepAlive,
    TimeToLive,
    Status,
    Hash,
}

/// The source of one client's requests.
#[derive(Debug)]
pub struct Traffic {
    rng: StdRng,
    /// The modification revisions of keys when they were last read.
    seen: BTreeMap<Bytes, i64>,
    revision: i64,
    leases: Vec<i64>,
    /// The TTLs in the profile of the last request.
    ttls: &'static [(i64, u32)],
}

/// A key that all clients write.
pub fn shared_key(number: u32) -> Bytes {
    format!("k/{number:03}").into()
}

/// A key that is attached to a lease.
fn leased_key(number: u32) -> Bytes {
    format!("l/{number:03}").into()
}

/// A request for a watch of some keys that starts at a revision in `starts`. Some of these requests
/// exclude puts or deletions, or ask for previous values or progress notifications.
pub fn random_interest(rng: &mut StdRng, starts: RangeInclusive<i64>) -> WatchCreateRequest {
    let first = rng.random_range(0..SHARED_KEYS);
    let end = first + rng.random_range(1..20);
    let filters = [Vec::new(), Vec::new(), vec![FilterType::Noput], vec![FilterType::Nodelete]];
    let filters = filters.choose(rng).expect("there are some").iter();
    // The first revision that is not compacted is an edge case.
    let start = if rng.random_ratio(1, 6) { *starts.start() } else { rng.random_range(starts) };
    WatchCreateRequest {
        key: shared_key(first),
        range_end: shared_key(end),
        start_revision: start,
        filters: filters.map(|filter| *filter as i32).collect(),
        prev_kv: rng.random(),
        progress_notify: rng.random(),
        ..Default::default()
    }
}

impl Traffic {
    /// The source of requests that `rng` chooses.
    pub fn new(rng: StdRng) -> Self {
        Self { rng, seen: BTreeMap::new(), revision: 1, leases: Vec::new(), ttls: TTLS }
    }

    /// The request of operation `id`, which is the client's next operation.
    pub fn next(&mut self, id: u64, profile: &Profile) -> Request {
        self.ttls = profile.ttls;
        let (action, _) = *weighted(&mut self.rng, profile.actions);
        let ((shortest, longest), _) = *weighted(&mut self.rng, profile.lengths);
        let length = shortest..=longest;
        match action {
            Action::Put => Request::Put(self.put(id, length)),
            Action::Swap => self.swap(id, length),
            Action::Create => self.create(id, length),
            Action::Remove => self.remove(),
            Action::Lock => self.lock(id, length),
            Action::PutSeveral => self.put_several(id, length),
            Action::Move => self.move_key(id, length),
            Action::Delete => {
                let key = self.key();
                let prev_kv = self.rng.random();
                Request::DeleteRange(DeleteRangeRequest { key, prev_kv, ..Default::default() })
            }
            Action::DeleteRange => {
                let first = self.rng.random_range(0..SHARED_KEYS);
                let end = first + self.rng.random_range(1..5);
                let prev_kv = self.rng.random();
                let key = shared_key(first);
                let range_end = shared_key(end);
                Request::DeleteRange(DeleteRangeRequest { key, range_end, prev_kv })
            }
            Action::PutLeased => self.put_leased(id, length),
            Action::Get => Request::Range(self.get()),
            Action::List => Request::Range(self.list()),
            Action::Past => {
                let back = self.rng.random_range(0..PAST_REVISIONS_MAX);
                let revision = (self.revision - back).max(1);
                Request::Range(RangeRequest { revision, ..self.list() })
            }
            Action::ReadTxn => self.read_txn(),
            Action::Grant => self.grant(id),
            Action::Revoke | Action::KeepAlive | Action::TimeToLive => self.of_lease(action, id),
            Action::Status => Request::Status,
            Action::Hash => Request::HashKv(HashKvRequest { revision: 0 }),
        }
    }

    /// Learns from the outcome of an operation.
    pub fn learn(&mut self, operation: &Operation) {
        self.revision = self.revision.max(operation.revision().unwrap_or(0));
        match (&operation.request, &operation.outcome) {
            (Request::LeaseGrant(grant), Outcome::Answered(_)) => self.leases.push(grant.id),
            (Request::LeaseRevoke(revoke), _) => self.leases.retain(|id| *id != revoke.id),
            (_, Outcome::Answered(Response::Range(range))) => {
                for KeyValue { key, mod_revision, .. } in &range.kvs {
                    self.seen.insert(key.clone(), *mod_revision);
                }
            }
            // The lease may have expired.
            (request, Outcome::Refused(..)) => {
                let gone = request.lease();
                self.leases.retain(|id| *id != gone);
            }
            _ => {}
        }
    }

    fn key(&mut self) -> Bytes {
        // Some keys are hot: all clients write them all the time.
        let hot = self.rng.random_bool(0.3);
        shared_key(self.rng.random_range(0..if hot { 4 } else { SHARED_KEYS }))
    }

    fn put(&mut self, id: u64, length: RangeInclusive<usize>) -> PutRequest {
        let key = self.key();
        let prev_kv = self.rng.random_bool(0.2);
        let value = value(id, 0, self.rng.random_range(length));
        PutRequest { key, value, prev_kv, ..Default::default() }
    }

    fn put_leased(&mut self, id: u64, length: RangeInclusive<usize>) -> Request {
        let Some(lease) = self.leases.choose(&mut self.rng).copied() else {
            return self.grant(id);
        };
        let key = leased_key(self.rng.random_range(0..LEASED_KEYS));
        Request::Put(PutRequest { key, lease, ..self.put(id, length) })
    }

    /// Updates a key as an API server updates an object: only if the key is unchanged since the
    /// last read. Otherwise, the request reads the key.
    fn swap(&mut self, id: u64, length: RangeInclusive<usize>) -> Request {
        let put = self.put(id, length);
        let known = self.seen.get(&put.key).copied().unwrap_or(0);
        if_modified_at(known, put.key.clone(), Op::RequestPut(put))
    }

    fn create(&mut self, id: u64, length: RangeInclusive<usize>) -> Request {
        let put = self.put(id, length);
        if_modified_at(0, put.key.clone(), Op::RequestPut(put))
    }

    fn remove(&mut self) -> Request {
        let key = self.key();
        let known = self.seen.get(&key).copied().unwrap_or(0);
        let delete = DeleteRangeRequest { key: key.clone(), ..Default::default() };
        if_modified_at(known, key, Op::RequestDeleteRange(delete))
    }

    fn lock(&mut self, id: u64, length: RangeInclusive<usize>) -> Request {
        match self.put_leased(id, length) {
            Request::Put(put) => if_modified_at(0, put.key.clone(), Op::RequestPut(put)),
            other => other,
        }
    }

    fn put_several(&mut self, id: u64, length: RangeInclusive<usize>) -> Request {
        let first = self.rng.random_range(0..SHARED_KEYS);
        let count = self.rng.random_range(2..5);
        let mut success = Vec::new();
        for (part, number) in (first..first + count).enumerate() {
            let value = value(id, part, self.rng.random_range(length.clone()));
            let key = shared_key(number % SHARED_KEYS);
            success.push(op(Op::RequestPut(PutRequest { key, value, ..Default::default() })));
        }
        // The range sees the writes of its own transaction.
        success.push(op(Op::RequestRange(self.list())));
        Request::Txn(TxnRequest { success, ..Default::default() })
    }

    fn move_key(&mut self, id: u64, length: RangeInclusive<usize>) -> Request {
        let from = self.rng.random_range(0..SHARED_KEYS);
        let to = (from + self.rng.random_range(1..SHARED_KEYS)) % SHARED_KEYS;
        let delete =
            DeleteRangeRequest { key: shared_key(from), prev_kv: true, ..Default::default() };
        let put = PutRequest { key: shared_key(to), ..self.put(id, length) };
        let mut success = vec![op(Op::RequestDeleteRange(delete)), op(Op::RequestPut(put))];
        if self.rng.random() {
            success.reverse();
        }
        Request::Txn(TxnRequest { success, ..Default::default() })
    }

    fn get(&mut self) -> RangeRequest {
        let serializable = self.rng.random_bool(0.3);
        RangeRequest { key: self.key(), serializable, ..Default::default() }
    }

    fn list(&mut self) -> RangeRequest {
        let first = self.rng.random_range(0..SHARED_KEYS);
        let mut range = RangeRequest {
            key: shared_key(first),
            range_end: shared_key(first + self.rng.random_range(1..20)),
            ..Default::default()
        };
        match self.rng.random_range(0..5) {
            0 => range.limit = self.rng.random_range(1..6),
            1 => range.keys_only = true,
            2 => range.count_only = true,
            3 => range.serializable = true,
            _ => {}
        }
        range
    }

    fn read_txn(&mut self) -> Request {
        let ranges = (0..self.rng.random_range(1..4)).map(|_| self.list()).collect::<Vec<_>>();
        let success = ranges.into_iter().map(|range| op(Op::RequestRange(range))).collect();
        Request::Txn(TxnRequest { success, ..Default::default() })
    }

    fn grant(&mut self, id: u64) -> Request {
        if self.leases.len() >= LEASES_MAX {
            return self.of_lease(Action::Revoke, id);
        }
        let (ttl, _) = *weighted(&mut self.rng, self.ttls);
        Request::LeaseGrant(LeaseGrantRequest { ttl, id: lease_id(id) })
    }

    fn of_lease(&mut self, action: Action, id: u64) -> Request {
        let Some(lease) = self.leases.choose(&mut self.rng).copied() else {
            return self.grant(id);
        };
        match action {
            Action::Revoke => Request::LeaseRevoke(LeaseRevokeRequest { id: lease }),
            Action::KeepAlive => Request::LeaseKeepAlive(LeaseKeepAliveRequest { id: lease }),
            _ => Request::LeaseTimeToLive(LeaseTimeToLiveRequest { id: lease, keys: true }),
        }
    }
}

/// Applies `then` to a key if the last modification of the key is at `revision`, and reads the key
/// otherwise.
fn if_modified_at(revision: i64, key: Bytes, then: Op) -> Request {
    let compare = Compare {
        result: CompareResult::Equal as i32,
        target: CompareTarget::Mod as i32,
        key: key.clone(),
        target_union: Some(TargetUnion::ModRevision(revision)),
        ..Default::default()
    };
    let get = RangeRequest { key, ..Default::default() };
    Request::Txn(TxnRequest {
        compare: vec![compare],
        success: vec![op(then)],
        failure: vec![op(Op::RequestRange(get))],
    })
}

/// The id of the lease that an operation grants: the id of the operation.
fn lease_id(operation: u64) -> i64 {
    i64::try_from(operation).expect("operations are counted from 1")
}

fn op(request: Op) -> RequestOp {
    RequestOp { request: Some(request) }
}

fn weighted<'a, T>(rng: &mut StdRng, choices: &'a [(T, u32)]) -> &'a (T, u32) {
    choices.choose_weighted(rng, |choice| choice.1).expect("there are choices with weights")
}
