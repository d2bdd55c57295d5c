//! Sending and installing the whole state: the receiver must then have the sender's data, wherever
//! the stream broke and whatever the receiver had applied before.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use super::super::compact;
use super::super::image::Image;
use super::super::merge::begin;
use super::super::part::{Part, PartPosition, PartReader, PartWriter, first_checksum};
use super::super::read_txn::ReadTxn;
use super::super::receive::{ReceiveError, ReceivedSnapshot, SnapshotReceiver};
use super::*;

/// Bytes of a part: small, so that little data makes many parts.
const PART: usize = 4 << 10;

fn parts(image: &Image, after: PartPosition) -> Vec<Part> {
    let parts = image.parts_of(after, PART).expect("a part ends at the position");
    parts.map(|part| part.unwrap()).collect()
}

fn add_all(incoming: &mut SnapshotReceiver, parts: &[Part]) {
    for part in parts {
        incoming.add(&part.content).unwrap();
    }
}

/// Receives an image over several streams. Each number in `breaks` is a stream that breaks after
/// this number of parts; the last stream does not break.
fn receive(engine: &Engine, image: &Image, breaks: &[usize]) -> ReceivedSnapshot {
    for parts_max in breaks {
        let mut incoming = engine.receive(&image.id()).unwrap();
        let rest = parts(image, incoming.position().unwrap());
        add_all(&mut incoming, &rest[..rest.len().min(*parts_max)]);
    }
    let mut incoming = engine.receive(&image.id()).unwrap();
    let rest = parts(image, incoming.position().unwrap());
    add_all(&mut incoming, &rest);
    incoming.finish().unwrap()
}

fn install(engine: &Engine, received: ReceivedSnapshot) -> Result<RestoredState, JobError> {
    let (sender, receiver) = mpsc::channel();
    engine.install(received, Box::new(move |result| sender.send(result).unwrap()));
    receiver.recv().unwrap()
}

/// Compares everything that readers see of a machine with a twin. The memtables of the machine must
/// be flushed.
fn assert_same(machine: &Machine, twin: &MemoryBase, probes: &[(u16, u16)]) {
    compare(machine.store.shared().view().base().as_ref(), twin, probes);
}

fn files(dir: &Path) -> Vec<String> {
    let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<String> = names.map(|name| name.into_string().unwrap()).collect();
    names.sort();
    names
}

impl Machine {
    /// A machine with leases and enough rows for many parts.
    fn filled() -> Self {
        let mut machine = Self::new();
        machine.grant();
        fill(&mut machine, 0, 900, 60);
        delete(&mut machine, 100, 50);
        machine.flush();
        fill(&mut machine, 50, 200, 1200);
        machine.apply(&Command::Compact(CompactionRequest { revision: 500, physical: false }));
        machine.flush();
        machine
    }

    fn grant(&mut self) {
        for id in 1..4 {
            self.apply(&Command::LeaseGrant(LeaseGrantRequest { id, ttl: 60 }));
        }
    }

    /// Installs the state that `leader` had at its last flush.
    fn follow(&mut self, leader: &Self, received: ReceivedSnapshot) {
        let restored = install(self.engine(), received).unwrap();
        self.store.continue_from(restored);
        assert_eq!(self.store.applied().map(|at| at.index), Some(leader.index));
        let tables = |machine: &Self| machine.store.shared().tables(Clone::clone);
        assert_eq!(tables(self), tables(leader));
        let view = self.store.shared().view();
        let theirs = leader.store.shared().view();
        for revision in [0, view.revision() / 2, view.compacted()] {
            assert_eq!(view.hash_kv(revision).ok(), theirs.hash_kv(revision).ok());
        }
        self.twin = leader.twin.clone();
        self.index = leader.index;
        self.compacted = leader.compacted;
        assert_eq!(files(self.dir.path()).len(), 2, "{:?}", files(self.dir.path()));
    }

    fn files(&self) -> Vec<String> {
        files(self.dir.path())
    }
}

/// Applies the leader's commands up to `index`, with flushes at other times than the leader's.
fn replay(machine: &mut Machine, leader: &Machine, index: usize, flush_every: usize) {
    for command in &leader.log[machine.log.len()..index] {
        machine.apply(command);
        if machine.log.len().is_multiple_of(flush_every) {
            machine.flush();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn an_installed_state_is_the_same_as_the_senders(
        before in prop::collection::vec(step(), 1..10),
        shares in (0usize..100, 0usize..100),
        flush_every in 50usize..2000,
        breaks in prop::collection::vec(0usize..200, 0..4),
        after in prop::collection::vec(step(), 1..6),
        probes in prop::collection::vec((0u16..3500, 0u16..3500), 1..12),
    ) {
        let mut leader = Machine::new();
        let mut lagging = Machine::new();
        leader.grant();
        before.iter().for_each(|step| run(&mut leader, step));
        leader.flush();
        let image = leader.engine().image();
        prop_assert_eq!(image.applied(), leader.store.applied());
        let behind = leader.log.len() - 1;
        replay(&mut lagging, &leader, behind * shares.0.min(shares.1) / 100, flush_every);
        let received = receive(lagging.engine(), &image, &breaks);
        // The receiver keeps applying entries while it receives the state.
        replay(&mut lagging, &leader, behind * shares.0.max(shares.1) / 100, flush_every);
        let old = lagging.store.shared().view();
        let hash = old.hash_kv(0).unwrap();
        lagging.follow(&leader, received);
        prop_assert_eq!(old.hash_kv(0).unwrap(), hash);
        drop(old);
        assert_same(&lagging, &leader.twin, &probes);
        after.iter().for_each(|step| run(&mut lagging, step));
        lagging.reopen();
        assert_same(&lagging, &lagging.twin, &probes);
    }
}

#[test]
fn keys_and_values_of_every_length_are_sent() {
    let mut leader = Machine::new();
    leader.grant();
    for length in 1..40 {
        for size in 0..8 {
            let key = Bytes::from(vec![b'a' + size; usize::from(length)]);
            let value = Bytes::from(vec![length; usize::from(size)]);
            let lease = i64::from(size % 4);
            let put = PutRequest { key, value, lease, ..Default::default() };
            leader.apply(&Command::Put(put));
        }
    }
    leader.flush();
    let mut lagging = Machine::new();
    let received = receive(lagging.engine(), &leader.engine().image(), &[]);
    lagging.follow(&leader, received);
    assert_same(&lagging, &leader.twin, &[]);
}

#[test]
fn a_broken_stream_can_continue_after_every_part() {
    let leader = Machine::filled();
    let image = leader.engine().image();
    let all = parts(&image, PartPosition::default());
    assert!(all.len() > 50, "{}", all.len());
    assert!(all[..all.len() - 1].iter().all(|part| !part.is_last) && all[all.len() - 1].is_last);
    let mut lagging = Machine::new();
    for half in 0..=all.len() {
        let mut incoming = lagging.engine().receive(&image.id()).unwrap();
        assert_eq!(incoming.position().unwrap(), PartPosition::default());
        add_all(&mut incoming, &all[..half]);
        let position = lagging.engine().receive(&image.id()).unwrap().position().unwrap();
        assert_eq!(position.parts, half as u64);
        let rest = parts(&image, position);
        assert_eq!(rest.len(), all.len() - half);
        for (part, same) in rest.iter().zip(&all[half..]) {
            assert_eq!(part.content, same.content);
        }
        let mut incoming = lagging.engine().receive(&image.id()).unwrap();
        add_all(&mut incoming, &rest);
        assert_eq!(incoming.finish().unwrap().applied(), leader.store.applied());
    }
    let received = receive(lagging.engine(), &image, &[]);
    lagging.follow(&leader, received);
    assert_same(&lagging, &leader.twin, &[(0, 900), (120, 300)]);
}

#[test]
fn parts_are_bounded_and_do_not_change() {
    let mut leader = Machine::filled();
    let image = leader.engine().image();
    let all = parts(&image, PartPosition::default());
    let row_max = 1300;
    for part in &all {
        assert!(part.content.len() < PART + row_max, "{}", part.content.len());
        assert!(part.is_last || part.content.len() >= PART);
    }
    let at = |parts| PartPosition { parts, ..PartPosition::default() };
    assert!(image.parts(at(1)).is_none(), "no part ends without a row");
    assert!(image.parts(at(1 << 40)).is_none());
    fill(&mut leader, 0, 900, 100);
    let revision = leader.store.shared().revision();
    leader.apply(&Command::Compact(CompactionRequest { revision, physical: false }));
    leader.flush();
    wait(|done| leader.engine().defragment(done));
    let again = parts(&image, PartPosition::default());
    assert!(all.iter().map(|part| &part.content).eq(again.iter().map(|part| &part.content)));
    let later = leader.engine().image();
    assert_ne!(later.id(), image.id());
    assert_eq!(later.id(), leader.engine().image().id());
    assert_eq!(image.parts(PartPosition::default()).unwrap().count(), 1, "{:?}", all.len());
}

#[test]
fn the_progress_is_known_in_bytes() {
    let leader = Machine::filled();
    let image = leader.engine().image();
    let all = parts(&image, PartPosition::default());
    let sum: usize = all.iter().map(|part| part.content.len()).sum();
    let sum = sum as u64;
    let expected = image.bytes().unwrap();
    assert!(sum.abs_diff(expected) < sum / 20, "{expected} bytes expected, {sum} sent");
    let lagging = Machine::new();
    let mut incoming = lagging.engine().receive(&image.id()).unwrap();
    assert_eq!(incoming.bytes().unwrap(), 0);
    let half: u64 = all[..9].iter().map(|part| incoming.add(&part.content).unwrap()).max().unwrap();
    let mut incoming = lagging.engine().receive(&image.id()).unwrap();
    assert_eq!(incoming.bytes().unwrap(), half, "the parts of an earlier stream count");
    let received = all[9..].iter().map(|part| incoming.add(&part.content).unwrap());
    assert_eq!(received.last(), Some(sum));
}

#[test]
fn parts_out_of_order_are_refused() {
    let mut leader = Machine::filled();
    let image = leader.engine().image();
    let all = parts(&image, PartPosition::default());
    fill(&mut leader, 0, 1, 1);
    leader.flush();
    let foreign = parts(&leader.engine().image(), PartPosition::default());
    let mut lagging = Machine::new();
    let mut incoming = lagging.engine().receive(&image.id()).unwrap();
    let mut refused = 0;
    for (number, part) in all.iter().enumerate() {
        let mut bad = part.content.to_vec();
        let at = (number * 7919) % bad.len();
        bad[at] ^= 1;
        let mut others = vec![bad, part.content[..at].to_vec(), Vec::new()];
        others.extend(all.get(number + 1).map(|part| part.content.to_vec()));
        others.extend(number.checked_sub(1).map(|number| all[number].content.to_vec()));
        others.extend(foreign.get(number).map(|part| part.content.to_vec()));
        let before = incoming.position().unwrap();
        for other in others {
            let answer = incoming.add(&other);
            assert!(matches!(answer, Err(ReceiveError::Refused(_))), "{number}: {answer:?}");
            assert_eq!(incoming.position().unwrap(), before);
            refused += 1;
        }
        incoming.add(&part.content).unwrap();
    }
    assert!(refused > all.len() * 5, "{refused}");
    let after = incoming.add(&all[all.len() - 1].content);
    assert!(matches!(after, Err(ReceiveError::Refused(_))));
    lagging.follow_image(&image, incoming);
}

impl Machine {
    fn follow_image(&mut self, image: &Image, incoming: SnapshotReceiver) {
        let received = incoming.finish().unwrap();
        assert_eq!(received.applied(), image.applied());
        let restored = install(self.engine(), received).unwrap();
        self.store.continue_from(restored);
        assert_eq!(self.store.applied(), image.applied());
    }
}

/// Sends an image with rows changed by `change` and with good checksums; the receiver must refuse
/// it.
fn forge(image: &Image, mut change: impl FnMut(u32, &[u8], &[u8]) -> Vec<(u32, Vec<u8>, Vec<u8>)>) {
    let lagging = Machine::new();
    let mut incoming = lagging.engine().receive("forged").unwrap();
    let mut genuine = first_checksum(&image.id());
    let mut forged = first_checksum("forged");
    let mut answer = Ok(0);
    for part in parts(image, PartPosition::default()) {
        let mut reader = PartReader::open(&part.content, part.number, genuine).unwrap();
        genuine = reader.checksum;
        let mut writer = PartWriter::new(crate::DATA_FORMAT, part.number, PART);
        while let Some(row) = reader.row().unwrap() {
            for (table, key, value) in change(row.table, row.key, row.value) {
                writer.row(table, &key, &value);
            }
        }
        if let Some(trailer) = reader.trailer().unwrap() {
            writer.trailer(&trailer);
        }
        let (content, checksum) = writer.finish(forged);
        forged = checksum;
        answer = answer.and_then(|_| incoming.add(&content));
    }
    let answer = answer.and_then(|_| incoming.finish().map(|_| ()));
    let refused = matches!(answer, Err(ReceiveError::Refused(_) | ReceiveError::Incomplete { .. }));
    assert!(refused, "{answer:?}");
    let begun = lagging.engine().receive("another").unwrap().position().unwrap();
    assert_eq!(begun, PartPosition::default());
    assert_eq!(lagging.files().len(), 3, "{:?}", lagging.files());
}

#[test]
fn an_inconsistent_state_is_refused() {
    let leader = Machine::filled();
    let image = leader.engine().image();
    let same = |table: u32, key: &[u8], value: &[u8]| vec![(table, key.to_vec(), value.to_vec())];
    for wanted in 1..=5 {
        let mut left_out = false;
        forge(&image, |table, key, value| {
            if table == wanted && !std::mem::replace(&mut left_out, true) {
                return Vec::new();
            }
            same(table, key, value)
        });
        assert!(left_out, "table {wanted} has rows");
    }
    let mut seen = 0;
    forge(&image, |table, key, value| {
        seen += 1;
        vec![(table, key.to_vec(), value.to_vec()); if seen == 40 { 2 } else { 1 }]
    });
    forge(&image, |table, key, value| same(if table == 3 { 9 } else { table }, key, value));
    forge(&image, |table, key, value| match table {
        4 => same(table, &key[1..], value),
        _ => same(table, key, value),
    });
    forge(&image, |table, key, value| match table {
        3 => same(table, key, &value[1..]),
        _ => same(table, key, value),
    });
}

#[test]
fn one_stream_at_a_time() {
    let leader = Machine::filled();
    let another = Machine::filled();
    let image = leader.engine().image();
    let other_image = another.engine().image();
    let all = parts(&image, PartPosition::default());
    let a = image.id();
    let b = other_image.id();
    let lagging = Machine::new();
    let mut first = lagging.engine().receive(&a).unwrap();
    add_all(&mut first, &all[..3]);
    let mut second = lagging.engine().receive(&a).unwrap();
    assert!(matches!(first.add(&all[3].content), Err(ReceiveError::TakenOver)));
    assert!(matches!(first.position(), Err(ReceiveError::TakenOver)));
    second.add(&all[3].content).unwrap();
    assert!(matches!(first.finish(), Err(ReceiveError::TakenOver)));
    let mut other = lagging.engine().receive(&b).unwrap();
    assert!(matches!(second.add(&all[4].content), Err(ReceiveError::TakenOver)));
    assert_eq!(other.position().unwrap(), PartPosition::default());
    assert_eq!(lagging.files().len(), 3, "the partly received first state is removed");
    add_all(&mut other, &parts(&other_image, PartPosition::default())[..2]);
    assert!(matches!(other.finish(), Err(ReceiveError::Refused(_))), "it is not complete");
    let kept = lagging.engine().receive(&b).unwrap();
    assert_eq!(kept.position().unwrap().parts, 2);
    lagging.engine().stop_receiving(Duration::ZERO);
    assert!(matches!(kept.finish(), Err(ReceiveError::TakenOver)));
    assert_eq!(lagging.files().len(), 2);
    let received = receive(lagging.engine(), &image, &[]);
    assert_eq!(lagging.files().len(), 3);
    drop(received);
    assert_eq!(lagging.files().len(), 2, "a state that is not installed is removed");
}

#[test]
fn a_restart_of_the_receiver_begins_again() {
    let leader = Machine::filled();
    let image = leader.engine().image();
    let mut lagging = Machine::new();
    lagging.grant();
    fill(&mut lagging, 0, 30, 30);
    lagging.flush();
    let half = parts(&image, PartPosition::default()).len() / 2;
    let mut incoming = lagging.engine().receive(&image.id()).unwrap();
    add_all(&mut incoming, &parts(&image, PartPosition::default())[..half]);
    let copy = copy_of(lagging.dir.path());
    drop(incoming);
    lagging.reopen();
    for dir in [lagging.dir.path(), copy.path()] {
        drop(OpenedDatabase::open(dir, Options { cache_bytes: 1 << 20 }, true).unwrap());
        assert_eq!(files(dir), ["0000000000000001.redb", "CURRENT"]);
    }
    assert_same(&lagging, &lagging.twin, &[(0, 40)]);
    let incoming = lagging.engine().receive(&image.id()).unwrap();
    assert_eq!(incoming.position().unwrap(), PartPosition::default());
    let received = receive(lagging.engine(), &image, &[3]);
    lagging.follow(&leader, received);
    assert_same(&lagging, &leader.twin, &[(0, 900)]);
}

/// A copy of the directory as a killed process would leave it now.
fn copy_of(dir: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for name in files(dir) {
        fs::copy(dir.join(&name), copy.path().join(&name)).unwrap();
    }
    copy
}

#[test]
fn a_crash_leaves_the_old_state_or_the_new() {
    let leader = Machine::filled();
    let image = leader.engine().image();
    let mut lagging = Machine::new();
    lagging.grant();
    fill(&mut lagging, 0, 30, 30);
    lagging.flush();
    let old = (lagging.twin.clone(), lagging.index);
    let new = (leader.twin.clone(), leader.index);
    let (seen, copies) = mpsc::channel();
    let look = move |step: &str, dir: &Path| {
        seen.send((step.to_owned(), copy_of(dir))).unwrap();
    };
    let received = receive(lagging.engine(), &image, &[]);
    look("received", lagging.dir.path());
    lagging.engine().watch_switch(Box::new(look.clone()));
    lagging.follow(&leader, received);
    look("installed", lagging.dir.path());
    lagging.engine().watch_switch(Box::new(|_, _| {}));
    drop(look);
    let mut steps = Vec::new();
    for (step, copy) in copies {
        let opened =
            OpenedDatabase::open(copy.path(), Options { cache_bytes: 1 << 20 }, true).unwrap();
        let (twin, index) = if ["received", "named"].contains(&&*step) { &old } else { &new };
        assert_eq!(opened.restored().applied.map(|at| at.index), Some(*index), "{step}");
        compare(opened.base().as_ref(), twin, &[(0, 900), (20, 40)]);
        assert_eq!(files(copy.path()).len(), 2, "{step}: {:?}", files(copy.path()));
        steps.push(step);
    }
    assert_eq!(steps, ["received", "named", "renamed", "installed"]);
}

#[test]
fn memtables_of_the_old_state_are_not_flushed() {
    let leader = Machine::filled();
    let image = leader.engine().image();
    let mut lagging = Machine::new();
    lagging.grant();
    fill(&mut lagging, 0, 300, 30);
    let (done, flushed) = mpsc::channel();
    let frozen = lagging.store.freeze().unwrap();
    fill(&mut lagging, 0, 30, 30);
    let received = receive(lagging.engine(), &image, &[]);
    lagging.follow(&leader, received);
    // The log became durable late, so the memtable is queued only now.
    lagging.engine().queue().flush(frozen, Box::new(move |result| done.send(result).unwrap()));
    assert!(flushed.recv().is_err(), "`done` is dropped");
    assert_same(&lagging, &leader.twin, &[(0, 900)]);
    fill(&mut lagging, 200, 30, 30);
    lagging.reopen();
    assert_same(&lagging, &lagging.twin, &[(0, 900)]);
}

#[test]
fn queued_work_does_not_change_an_installed_state() {
    for _ in 0..8 {
        let leader = Machine::filled();
        let mut lagging = Machine::new();
        lagging.grant();
        fill(&mut lagging, 0, 300, 30);
        lagging.flush();
        fill(&mut lagging, 0, 30, 30);
        let received = receive(lagging.engine(), &leader.engine().image(), &[]);
        let (copied, copying) = mpsc::channel();
        lagging.engine().defragment(Box::new(move |result| copied.send(result).unwrap()));
        let frozen = lagging.store.freeze().unwrap();
        let (flushed, flushing) = mpsc::channel();
        lagging
            .engine()
            .queue()
            .flush(frozen, Box::new(move |result| flushed.send(result).unwrap()));
        let restored = install(lagging.engine(), received).unwrap();
        lagging.store.continue_from(restored);
        // The flush and the copy may end before the installation, or be dropped or fail after it.
        let _ended = (flushing.recv(), copying.recv().unwrap());
        lagging.twin = leader.twin.clone();
        lagging.index = leader.index;
        assert_same(&lagging, &leader.twin, &[(0, 900)]);
        assert_eq!(lagging.files().len(), 2, "{:?}", lagging.files());
        fill(&mut lagging, 100, 30, 30);
        wait(|done| lagging.engine().defragment(done));
        lagging.reopen();
        assert_same(&lagging, &lagging.twin, &[(0, 900)]);
    }
}

#[test]
fn an_earlier_state_is_not_installed() {
    let mut machine = Machine::filled();
    let image = machine.engine().image();
    let received = receive(machine.engine(), &image, &[]);
    assert!(install(machine.engine(), received).is_err());
    fill(&mut machine, 0, 30, 30);
    let received = receive(machine.engine(), &image, &[2]);
    machine.flush();
    assert!(install(machine.engine(), received).is_err());
    assert_eq!(machine.files().len(), 2);
    machine.reopen();
    assert_same(&machine, &machine.twin, &[(0, 900)]);
}

/// A database as a member finds it after it was killed between two steps of deleting history.
fn half_deleted() -> (tempfile::TempDir, Arc<redb::Database>, MemoryBase, u64) {
    let mut leader = Machine::filled();
    fill(&mut leader, 0, 900, 10);
    leader.flush();
    let Machine { dir, store, engine, twin, index, .. } = leader;
    drop((store, engine));
    let path: PathBuf = dir.path().join("0000000000000001.redb");
    let database = Arc::new(redb::Database::open(path).unwrap());
    for _ in 0..3 {
        let base = ReadTxn::open(&database).unwrap();
        let mut meta = base.meta().clone();
        meta.compacted = 1500;
        let txn = begin(&database).unwrap();
        compact::step(&txn, 100, base.counts(), &mut meta).unwrap();
        txn.commit().unwrap();
    }
    (dir, database, twin.compact(1500), index)
}

#[test]
fn a_running_deletion_of_history_continues_at_the_receiver() {
    let (_dir, database, twin, index) = half_deleted();
    let snapshot = Arc::new(ReadTxn::open(&database).unwrap());
    assert!(compact::is_due(snapshot.meta()) && snapshot.meta().delete_from.main > 0);
    let lagging = Machine::new();
    let received = receive(lagging.engine(), &Image::new(snapshot), &[]);
    let restored = install(lagging.engine(), received).unwrap();
    assert_eq!(restored.applied.map(|at| at.index), Some(index));
    wait(|done| lagging.engine().when_deleted(1500, done));
    assert_same(&lagging, &twin, &[(0, 900), (120, 300)]);
}
