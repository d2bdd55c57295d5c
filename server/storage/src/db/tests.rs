//! Compares the database with its twin in memory: after any flushes, compactions, defragmentations
//! and restarts, both must return the same data.

use std::path::Path;
use std::sync::{Arc, mpsc};

use bytes::Bytes;
use parking_lot::Mutex;
use proptest::prelude::*;
use quorate_core::auth::{Auth, AuthCommand, Origin};
use quorate_core::base::Base;
use quorate_core::base::memory::MemoryBase;
use quorate_core::store::{FrozenMemtable, RestoredState};
use quorate_core::{Command, KeyRange, LogPosition, Record, Revision, Store};
use quorate_proto::etcdserverpb::{
    AuthRoleAddRequest, CompactionRequest, DeleteRangeRequest, LeaseGrantRequest, PutRequest,
};

use super::JobError;
use super::engine::{Engine, JobDone, Options};
use super::open::OpenedDatabase;

mod size;
mod transfer;

/// A hook that sees the directory at each step of changing the file in use.
#[derive(Clone, Default)]
pub(super) struct Probe(Arc<Mutex<Option<Look>>>);

pub(super) type Look = Box<dyn FnMut(&str, &Path) + Send>;

impl Probe {
    pub(super) fn look_with(&self, look: Look) {
        *self.0.lock() = Some(look);
    }

    pub(super) fn reached(&self, step: &str, directory: &Path) {
        if let Some(look) = self.0.lock().as_mut() {
            look(step, directory);
        }
    }
}

impl std::fmt::Debug for Probe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Probe")
    }
}

fn key(n: u16) -> Bytes {
    Bytes::from(format!("key-{n:05}"))
}

/// A store on disk, its twin in memory, and the commands that both applied.
struct Machine {
    dir: tempfile::TempDir,
    store: Store,
    engine: Option<Engine>,
    twin: MemoryBase,
    index: u64,
    compacted: i64,
    /// All applied commands.
    log: Vec<Command>,
}

fn start(dir: &Path) -> (Store, Engine) {
    let opened = OpenedDatabase::open(dir, Options { cache_bytes: 1 << 20 }, true).unwrap();
    let store = Store::new(opened.base(), opened.restored().clone());
    let on_fault = Arc::new(|fault| panic!("{fault}"));
    let engine = Engine::start(opened, store.shared().clone(), on_fault).unwrap();
    (store, engine)
}

fn wait(call: impl FnOnce(JobDone)) {
    let (sender, receiver) = mpsc::channel();
    call(Box::new(move |result| sender.send(result).unwrap()));
    receiver.recv().unwrap().unwrap();
}

impl Machine {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (store, engine) = start(dir.path());
        let twin = MemoryBase::default();
        let engine = Some(engine);
        Self { dir, store, engine, twin, index: 0, compacted: -1, log: Vec::new() }
    }

    fn engine(&self) -> &Engine {
        self.engine.as_ref().unwrap()
    }

    fn apply(&mut self, command: &Command) {
        self.index += 1;
        self.store.begin_batch();
        let at = LogPosition { term: 1, index: self.index };
        let applied = self.store.apply(at, &command.encode()).unwrap();
        self.log.push(command.clone());
        if let (Command::Compact(compact), Ok(_)) = (command, applied.reply) {
            self.compacted = compact.revision;
        }
    }

    fn freeze(&mut self) -> FrozenMemtable {
        let frozen = self.store.freeze().unwrap();
        self.twin = self.twin.merge(&frozen.memtable.read(), frozen.revision);
        frozen
    }

    fn flush(&mut self) {
        let frozen = self.freeze();
        wait(|done| self.engine().queue().flush(frozen, done));
        if self.compacted >= 0 {
            wait(|done| self.engine().when_deleted(self.compacted, done));
            self.twin = self.twin.compact(self.compacted);
        }
    }

    fn reopen(&mut self) {
        self.flush();
        self.engine = None;
        let before = self.store.shared().tables(Clone::clone);
        let revision = self.store.shared().revision();
        let applied = self.store.applied();
        let empty = Store::new(Arc::new(MemoryBase::default()), Default::default());
        self.store = empty;
        let (store, engine) = start(self.dir.path());
        self.store = store;
        self.engine = Some(engine);
        assert_eq!(self.store.shared().tables(Clone::clone), before);
        assert_eq!(self.store.shared().revision(), revision);
        assert_eq!(self.store.applied(), applied);
    }
}

fn records(base: &dyn Base, range: &KeyRange, values: bool) -> Vec<Record> {
    let mut cursor = base.scan(range, values).unwrap();
    let mut records = Vec::new();
    while cursor.advance().unwrap() {
        records.push(cursor.record().to_owned());
    }
    records
}

fn history(base: &dyn Base, from: i64) -> Vec<Record> {
    let mut cursor = base.history(Revision::start_of(from)).unwrap();
    let mut records = Vec::new();
    while cursor.advance().unwrap() {
        records.push(cursor.record().to_owned());
    }
    records
}

fn compare(disk: &dyn Base, twin: &MemoryBase, probes: &[(u16, u16)]) {
    assert_eq!(disk.revision(), twin.revision());
    assert_eq!(history(disk, 0), history(twin, 0));
    let middle = twin.revision() / 2;
    assert_eq!(history(disk, middle), history(twin, middle));
    let all = KeyRange::all();
    assert_eq!(records(disk, &all, true), records(twin, &all, true));
    assert_eq!(disk.count(&all).unwrap(), twin.count(&all).unwrap());
    for (a, b) in probes {
        let ends = [key(*b), Bytes::new(), Bytes::from_static(b"\0"), key(a / 2)];
        for end in ends {
            let range = KeyRange::from_wire(key(*a), end);
            assert_eq!(disk.count(&range).unwrap(), twin.count(&range).unwrap(), "{range:?}");
            assert_eq!(records(disk, &range, false), records(twin, &range, false));
        }
        assert_eq!(disk.latest(&key(*a)).unwrap(), twin.latest(&key(*a)).unwrap());
        assert_eq!(disk.header(&key(*a)).unwrap(), twin.header(&key(*a)).unwrap());
    }
    for lease in 0..4 {
        if lease != 0 {
            for limit in [0, 1, usize::MAX] {
                let keys = |base: &dyn Base| base.lease_keys(lease, limit).unwrap();
                assert_eq!(keys(disk), keys(twin));
            }
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Fill(u16, u16, u16),
    Delete(u16, u16),
    Compact(u8),
    Flush,
    Defragment,
    DefragmentUnderWrites(u16),
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => (0u16..3000, 1u16..900, 0u16..1400).prop_map(|(a, n, v)| Step::Fill(a, n, v)),
        2 => (0u16..3000, 0u16..1500).prop_map(|(a, n)| Step::Delete(a, n)),
        2 => any::<u8>().prop_map(Step::Compact),
        3 => Just(Step::Flush),
        1 => Just(Step::Defragment),
        1 => (0u16..3000).prop_map(Step::DefragmentUnderWrites),
        1 => Just(Step::Reopen),
    ]
}

fn add_role(name: String) -> Command {
    Command::Auth(AuthCommand::RoleAdd(AuthRoleAddRequest { name }))
}

/// Users and roles after a change.
pub(super) fn users() -> Arc<Auth> {
    let base = Arc::new(MemoryBase::default());
    let mut store = Store::new(base, RestoredState::default());
    let added =
        store.apply_decoded(LogPosition::default(), add_role("r".to_owned()), &Origin::Unknown);
    added.unwrap().reply.unwrap();
    store.shared().tables(|tables| tables.auth.clone())
}

fn fill(machine: &mut Machine, first: u16, count: u16, size: u16) {
    machine.apply(&add_role(format!("role-{first}")));
    for n in first..first + count {
        let value = vec![u8::try_from(n % 256).unwrap(); usize::from(size)];
        let value = Bytes::from(value);
        let lease = i64::from(n % 4);
        let put = PutRequest { key: key(n), value, lease, ..Default::default() };
        machine.apply(&Command::Put(put));
    }
}

fn delete(machine: &mut Machine, first: u16, count: u16) {
    let range_end = key(first + count);
    let key = key(first);
    machine.apply(&Command::DeleteRange(DeleteRangeRequest { key, range_end, prev_kv: false }));
}

fn run(machine: &mut Machine, step: &Step) {
    match step {
        Step::Fill(first, count, size) => fill(machine, *first, *count, *size),
        Step::Delete(first, count) => delete(machine, *first, *count),
        Step::Compact(share) => {
            let revision = machine.store.shared().revision() * i64::from(*share) / 255;
            machine.apply(&Command::Compact(CompactionRequest { revision, physical: false }));
        }
        Step::Flush => machine.flush(),
        Step::Defragment => wait(|done| machine.engine().defragment(done)),
        Step::DefragmentUnderWrites(first) => {
            let (sender, receiver) = mpsc::channel();
            machine.engine().defragment(Box::new(move |result| sender.send(result).unwrap()));
            for round in 0..3 {
                fill(machine, *first, 100, 10 + round);
                delete(machine, *first + 50, 20);
                let frozen = machine.freeze();
                wait(|done| machine.engine().queue().flush(frozen, done));
            }
            receiver.recv().unwrap().unwrap();
        }
        Step::Reopen => machine.reopen(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn shows_the_same_as_its_twin(
        steps in prop::collection::vec(step(), 1..14),
        probes in prop::collection::vec((0u16..3500, 0u16..3500), 1..12),
    ) {
        let mut machine = Machine::new();
        for id in 1..4 {
            machine.apply(&Command::LeaseGrant(LeaseGrantRequest { id, ttl: 60 }));
        }
        for step in &steps {
            run(&mut machine, step);
        }
        machine.flush();
        let opened_base = machine.store.shared().view();
        compare(opened_base.base().as_ref(), &machine.twin, &probes);
        drop(opened_base);
        machine.reopen();
        compare(machine.store.shared().view().base().as_ref(), &machine.twin, &probes);
    }
}

#[test]
fn defragmentation_gives_space_back() {
    let mut machine = Machine::new();
    for _ in 0..3 {
        fill(&mut machine, 0, 3000, 900);
        machine.flush();
    }
    delete(&mut machine, 100, 2900);
    let revision = machine.store.shared().revision();
    machine.apply(&Command::Compact(CompactionRequest { revision, physical: true }));
    machine.flush();
    let before = machine.engine().sizes();
    wait(|done| machine.engine().defragment(done));
    let after = machine.engine().sizes();
    assert!(after.allocated < before.allocated / 4, "{before:?} {after:?}");
    assert_eq!(after.in_use, before.in_use);
    let files = std::fs::read_dir(machine.dir.path()).unwrap().count();
    assert_eq!(files, 2, "the database and CURRENT");
}

#[test]
fn a_missing_or_damaged_file_is_named() {
    let mut machine = Machine::new();
    fill(&mut machine, 0, 500, 100);
    machine.flush();
    let Machine { dir, store, engine, .. } = machine;
    drop((store, engine));
    let open =
        || OpenedDatabase::open(dir.path(), Options { cache_bytes: 1 << 20 }, true).map(|_| ());
    let file = dir.path().join("0000000000000001.redb");
    let good = std::fs::read(&file).unwrap();
    assert!(open().is_ok());
    for at in (0..good.len()).step_by(good.len() / 97) {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        std::fs::write(&file, &bad).unwrap();
        // Damage of a page that is not in use may go unnoticed.
        if let Err(error) = open() {
            assert!(error.to_string().contains("0000000000000001.redb"), "{error}");
        }
    }
    std::fs::write(&file, &good[..good.len() / 2]).unwrap();
    assert!(open().is_err());
    std::fs::write(&file, b"").unwrap();
    assert!(open().is_err());
    std::fs::remove_file(&file).unwrap();
    assert!(open().is_err());
    std::fs::write(dir.path().join("CURRENT"), "nonsense").unwrap();
    assert!(open().is_err());
}

#[test]
fn its_own_thread_can_drop_the_last_reference() {
    let mut machine = Machine::new();
    machine.apply(&Command::Put(PutRequest { key: key(1), ..Default::default() }));
    let frozen = machine.freeze();
    let engine = Arc::new(machine.engine.take().unwrap());
    let held = engine.clone();
    let (let_go, gate) = mpsc::channel();
    let (sender, receiver) = mpsc::channel();
    let done = move |flushed: Result<(), JobError>| {
        flushed.unwrap();
        gate.recv().unwrap();
        drop(held);
        sender.send(()).unwrap();
    };
    engine.queue().flush(frozen, Box::new(done));
    drop(engine);
    let_go.send(()).unwrap();
    receiver.recv().unwrap();
}
