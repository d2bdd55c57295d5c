//! Compares the store with a simple model: a list of all versions, searched from end to end. Random
//! commands, with random freezes, flushes and compactions of the base, must leave both with the
//! same answers at every revision that is not compacted. Two stores that apply the same commands
//! and flush at different times must be equal.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;
use quorate_core::base::memory::MemoryBase;
use quorate_core::mvcc::{ChunkLimit, View};
use quorate_core::store::RestoredState;
use quorate_core::{Command, KeyRange, LogPosition, Record, Refusal, Reply, Revision, Store};
use quorate_proto::etcdserverpb::request_op::Request;
use quorate_proto::etcdserverpb::{
    CompactionRequest, DeleteRangeRequest, LeaseGrantRequest, LeaseRevokeRequest, PutRequest,
    RangeRequest, RequestOp, TxnRequest,
};

#[derive(Clone, Debug)]
enum Step {
    Put(u8, u8, i64),
    Delete(u8, u8),
    Txn(Vec<(u8, Option<u8>)>),
    Grant(i64),
    Revoke(i64),
    Compact(u8),
    Freeze,
    Flush,
    CompactBase,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0u8..12, any::<u8>(), 0i64..3).prop_map(|(k, v, l)| Step::Put(k, v, l)),
        3 => (0u8..12, 0u8..13).prop_map(|(a, b)| Step::Delete(a, b)),
        3 => prop::collection::vec((0u8..12, prop::option::of(any::<u8>())), 1..5)
            .prop_map(Step::Txn),
        1 => (1i64..3).prop_map(Step::Grant),
        1 => (1i64..3).prop_map(Step::Revoke),
        1 => any::<u8>().prop_map(Step::Compact),
        2 => Just(Step::Freeze),
        2 => Just(Step::Flush),
        1 => Just(Step::CompactBase),
    ]
}

fn key(n: u8) -> Bytes {
    Bytes::from(format!("k{n:02}"))
}

fn delete(from: u8, to: u8) -> DeleteRangeRequest {
    let range_end = if to == 0 { Bytes::from_static(b"\0") } else { key(to) };
    DeleteRangeRequest { key: key(from), range_end, prev_kv: false }
}

/// The store under test, with the flushes that a member would run.
struct Machine {
    store: Store,
    base: MemoryBase,
    frozen: Option<quorate_core::store::FrozenMemtable>,
    index: u64,
}

impl Machine {
    fn new() -> Self {
        let base = MemoryBase::default();
        let store = Store::new(Arc::new(base.clone()), RestoredState::default());
        Self { store, base, frozen: None, index: 0 }
    }

    fn apply(&mut self, command: &Command) -> Result<Reply, Refusal> {
        self.index += 1;
        self.store.begin_batch();
        let at = LogPosition { term: 1, index: self.index };
        self.store.apply(at, &command.encode()).expect("no fault").reply
    }

    fn freeze(&mut self) {
        if let Some(frozen) = self.store.freeze() {
            self.frozen = Some(frozen);
        }
    }

    fn flush(&mut self) {
        if let Some(frozen) = self.frozen.take() {
            self.base = self.base.merge(&frozen.memtable.read(), frozen.revision);
            self.store.shared().install_base(Arc::new(self.base.clone()), true);
        }
    }

    fn compact_base(&mut self) {
        let compacted = self.store.shared().compacted();
        let flushed = quorate_core::base::Base::revision(&self.base);
        if compacted > 0 && compacted <= flushed {
            self.base = self.base.compact(compacted);
            self.store.shared().install_base(Arc::new(self.base.clone()), false);
        }
    }

    /// Flushes everything.
    fn settle(&mut self) {
        self.flush();
        self.freeze();
        self.flush();
    }

    /// Installs another member's state, which must be completely flushed.
    fn install(&mut self, from: &Self) {
        let shared = from.store.shared();
        let restored = RestoredState {
            revision: shared.revision(),
            compacted: Some(shared.compacted()),
            applied: from.store.applied(),
            membership: from.store.membership().clone(),
            tables: shared.tables(Clone::clone),
        };
        let shared = self.store.shared().clone();
        shared.install_snapshot(Arc::new(from.base.clone()), &restored);
        assert_eq!(shared.view().revision(), from.view().revision());
        assert!(self.store.freeze().is_none(), "a replaced memtable must not be flushed");
        self.store.continue_from(restored);
        if let Some(frozen) = self.frozen.take() {
            assert!(!shared.is_frozen(&frozen.memtable), "an older memtable must not be flushed");
        }
        self.base = from.base.clone();
        self.index = from.index;
    }

    fn view(&self) -> View {
        self.store.shared().view()
    }
}

/// Main revision, key, and value with lease; `None` for a deletion.
type Version = (i64, Bytes, Option<(Bytes, i64)>);

/// All versions ever written, and the compacted revision.
struct Model {
    versions: Vec<Version>,
    revision: i64,
    compacted: i64,
    leases: Vec<i64>,
}

type Row = (Bytes, Bytes, i64, i64, i64, i64);

impl Model {
    fn new() -> Self {
        Self { versions: Vec::new(), revision: 1, compacted: -1, leases: Vec::new() }
    }

    fn at(&self, revision: i64) -> BTreeMap<Bytes, Row> {
        let mut rows: BTreeMap<Bytes, Row> = BTreeMap::new();
        for (main, key, written) in self.versions.iter().take_while(|v| v.0 <= revision) {
            let Some((value, lease)) = written else {
                rows.remove(key);
                continue;
            };
            let (create, version) = rows.get(key).map_or((*main, 1), |row| (row.2, row.4 + 1));
            let row = (key.clone(), value.clone(), create, *main, version, *lease);
            rows.insert(key.clone(), row);
        }
        rows
    }

    fn put(&mut self, main: i64, n: u8, value: u8, lease: i64) {
        self.versions.push((main, key(n), Some((Bytes::from(vec![value]), lease))));
    }

    fn delete(&mut self, main: i64, range: &KeyRange) -> usize {
        let now = self.at(main);
        let doomed: Vec<_> = now.keys().filter(|k| range.contains(k)).cloned().collect();
        let count = doomed.len();
        self.versions.extend(doomed.into_iter().map(|key| (main, key, None)));
        count
    }
}

fn run(steps: &[Step], machine: &mut Machine, model: &mut Model) {
    for step in steps {
        let next = model.revision + 1;
        match step {
            Step::Put(k, v, lease) => {
                let put = PutRequest {
                    key: key(*k),
                    value: Bytes::from(vec![*v]),
                    lease: *lease,
                    ..Default::default()
                };
                let reply = machine.apply(&Command::Put(put));
                if *lease == 0 || model.leases.contains(lease) {
                    model.put(next, *k, *v, *lease);
                    model.revision = next;
                    assert!(matches!(reply, Ok(Reply::Put(_))));
                } else {
                    assert_eq!(reply, Err(Refusal::LeaseNotFound));
                }
            }
            Step::Delete(a, b) => {
                let request = delete(*a, *b);
                let range = KeyRange::from_wire(request.key.clone(), request.range_end.clone());
                let Ok(Reply::DeleteRange(reply)) = machine.apply(&Command::DeleteRange(request))
                else {
                    panic!("a deletion is never refused")
                };
                let count = model.delete(next, &range);
                assert_eq!(reply.deleted, i64::try_from(count).unwrap());
                model.revision += i64::from(count > 0);
            }
            Step::Txn(writes) => txn(writes, machine, model),
            Step::Grant(id) => {
                let grant = LeaseGrantRequest { id: *id, ttl: 60 };
                let reply = machine.apply(&Command::LeaseGrant(grant));
                assert_eq!(reply.is_ok(), !model.leases.contains(id));
                if reply.is_ok() {
                    model.leases.push(*id);
                }
            }
            Step::Revoke(id) => revoke(*id, machine, model),
            Step::Compact(share) => {
                let revision = model.revision * i64::from(*share) / 255;
                let compact = CompactionRequest { revision, physical: false };
                let reply = machine.apply(&Command::Compact(compact));
                assert_eq!(reply.is_ok(), revision > model.compacted);
                model.compacted = model.compacted.max(revision);
            }
            Step::Freeze => machine.freeze(),
            Step::Flush => machine.flush(),
            Step::CompactBase => machine.compact_base(),
        }
    }
}

/// Runs a transaction of puts and deletes of single keys. Each key has one write, because the API
/// would refuse a transaction that writes a key twice.
fn txn(writes: &[(u8, Option<u8>)], machine: &mut Machine, model: &mut Model) {
    let distinct: BTreeMap<u8, Option<u8>> = writes.iter().copied().collect();
    let next = model.revision + 1;
    let ops = distinct.iter().map(|(k, value)| {
        let request = match value {
            Some(v) => Request::RequestPut(PutRequest {
                key: key(*k),
                value: Bytes::from(vec![*v]),
                ..Default::default()
            }),
            None => Request::RequestDeleteRange(DeleteRangeRequest {
                key: key(*k),
                ..Default::default()
            }),
        };
        RequestOp { request: Some(request) }
    });
    let request = TxnRequest { success: ops.collect(), ..Default::default() };
    assert!(matches!(machine.apply(&Command::Txn(request)), Ok(Reply::Txn(_))));
    let before = model.versions.len();
    for (k, value) in distinct {
        match value {
            Some(v) => model.put(next, k, v, 0),
            None => {
                model.delete(next, &KeyRange::single(key(k)));
            }
        }
    }
    model.revision += i64::from(model.versions.len() > before);
}

fn revoke(id: i64, machine: &mut Machine, model: &mut Model) {
    let reply = machine.apply(&Command::LeaseRevoke(LeaseRevokeRequest { id }));
    assert_eq!(reply.is_ok(), model.leases.contains(&id));
    if reply.is_err() {
        return;
    }
    model.leases.retain(|lease| *lease != id);
    let now = model.at(model.revision);
    let next = model.revision + 1;
    let doomed: Vec<_> = now.values().filter(|row| row.5 == id).map(|r| r.0.clone()).collect();
    model.revision += i64::from(!doomed.is_empty());
    model.versions.extend(doomed.into_iter().map(|key| (next, key, None)));
}

fn rows(view: &View, range: &KeyRange, at: i64) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut take = |row: quorate_core::RecordRef<'_>| {
        let r = row.to_owned();
        rows.push((r.key, r.value, r.create_revision, r.revision.main, r.version, r.lease));
        ControlFlow::Continue(())
    };
    view.walk(range, at, true, &mut take).unwrap();
    rows
}

/// The whole history from a main revision on, read in chunks of varying size.
fn history_in_chunks(view: &View, from: i64) -> Vec<Record> {
    let mut history = Vec::<Record>::new();
    let mut next = Revision::start_of(from);
    loop {
        let limit = ChunkLimit { versions: 1 + history.len() % 4, bytes: 1 + history.len() % 20 };
        let (chunk, is_full) = view.history_chunk(next, i64::MAX, limit).unwrap();
        assert!(chunk.len() <= limit.versions && (!chunk.is_empty() || !is_full));
        history.extend(chunk);
        let Some(last) = history.last().filter(|_| is_full) else { return history };
        next = Revision::new(last.revision.main, last.revision.sub + 1);
    }
}

fn compare(view: &View, model: &Model) {
    assert_eq!(view.revision(), model.revision);
    for at in model.compacted.max(1)..=model.revision {
        let expected = model.at(at);
        for (a, b) in [(0, 0), (3, 9), (5, 6), (9, 3), (11, 0)] {
            let end = if b == 0 { Bytes::from_static(b"\0") } else { key(b) };
            let range = KeyRange::from_wire(key(a), end);
            let within: Vec<Row> =
                expected.values().filter(|row| range.contains(&row.0)).cloned().collect();
            assert_eq!(view.count(&range, at).unwrap(), i64::try_from(within.len()).unwrap());
            assert_eq!(rows(view, &range, at), within, "{range:?} at {at}");
        }
        for n in 0..12 {
            let found = rows(view, &KeyRange::single(key(n)), at).pop();
            assert_eq!(found, expected.get(&key(n)).cloned());
        }
    }
    let from = model.compacted.max(1);
    let changes: Vec<(i64, Bytes)> =
        model.versions.iter().filter(|v| v.0 >= from).map(|v| (v.0, v.1.clone())).collect();
    let history = history_in_chunks(view, from);
    let found: Vec<_> = history.iter().map(|r| (r.revision.main, r.key.clone())).collect();
    assert_eq!(found, changes);
    for record in &history {
        let before = model.at(record.revision.main - 1).remove(&record.key);
        let before = before.filter(|_| record.revision.main > model.compacted);
        let previous = view.previous(record).unwrap();
        assert_eq!(previous.map(|p: Record| p.value), before.map(|row| row.1));
    }
    let refused = view.range(
        &RangeRequest { key: key(0), revision: model.revision + 1, ..Default::default() },
        true,
        &mut Vec::new(),
    );
    assert!(refused.is_err());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn answers_as_the_model_does(steps in prop::collection::vec(step(), 1..60)) {
        let mut machine = Machine::new();
        let mut model = Model::new();
        run(&steps, &mut machine, &mut model);
        compare(&machine.view(), &model);
        machine.settle();
        machine.compact_base();
        compare(&machine.view(), &model);
    }

    #[test]
    fn later_writes_do_not_change_the_lease_keys_of_a_view(
        before in prop::collection::vec(step(), 1..40),
        after in prop::collection::vec(step(), 1..40),
    ) {
        let mut machine = Machine::new();
        let mut model = Model::new();
        run(&before, &mut machine, &mut model);
        let keys = |view: &View| [1, 2].map(|lease| view.lease_keys(lease).unwrap());
        let view = machine.view();
        let then = keys(&view);
        run(&after, &mut machine, &mut model);
        prop_assert_eq!(keys(&view), then);
    }

    #[test]
    fn a_lagging_member_continues_from_an_installed_state(
        missed in prop::collection::vec(step(), 1..40),
        seen in 0usize..40,
        after in prop::collection::vec(step(), 1..40),
    ) {
        let mut leader = Machine::new();
        let mut model = Model::new();
        let mut lagging = Machine::new();
        run(&missed[..seen.min(missed.len() - 1)], &mut lagging, &mut Model::new());
        run(&missed, &mut leader, &mut model);
        leader.settle();
        lagging.install(&leader);
        compare(&lagging.view(), &model);
        run(&after, &mut lagging, &mut model);
        compare(&lagging.view(), &model);
        lagging.settle();
        lagging.compact_base();
        compare(&lagging.view(), &model);
    }

    #[test]
    fn flushing_changes_nothing(
        steps in prop::collection::vec(step(), 1..60),
        flushes in prop::collection::vec(any::<bool>(), 60),
    ) {
        let mut plain = Machine::new();
        let mut flushed = Machine::new();
        let commands = steps.iter().filter(|step| {
            !matches!(step, Step::Freeze | Step::Flush | Step::CompactBase)
        });
        let commands: Vec<Step> = commands.cloned().collect();
        run(&commands, &mut plain, &mut Model::new());
        let mut mixed = Vec::new();
        for (step, flush) in commands.iter().zip(&flushes) {
            mixed.push(step.clone());
            if *flush {
                mixed.extend([Step::Freeze, Step::Flush, Step::CompactBase]);
            }
        }
        run(&mixed, &mut flushed, &mut Model::new());
        for (a, b) in [(plain.view(), flushed.view())] {
            prop_assert_eq!(a.hash_kv(0).unwrap(), b.hash_kv(0).unwrap());
            let all = KeyRange::all();
            prop_assert_eq!(rows(&a, &all, a.revision()), rows(&b, &all, b.revision()));
            for lease in 1..3 {
                prop_assert_eq!(a.lease_keys(lease).unwrap(), b.lease_keys(lease).unwrap());
            }
        }
    }
}
