//! Tests of the log with a model, with torn writes and with flipped bits.

mod torn;

use std::sync::mpsc;

use proptest::prelude::*;

use super::*;

const PANIC_ON_FAULT: fn(quorate_core::Ending) = |fault| panic!("{fault}");

fn open(dir: &Path) -> Result<Wal, RecoveryError> {
    let options =
        Options { segment_bytes_max: 64 << 10, cache_bytes_max: 4 << 10, direct_io: true };
    Wal::open(dir, &options, Arc::new(PANIC_ON_FAULT))
}

fn at(term: u64, index: u64) -> LogPosition {
    LogPosition { term, index }
}

fn entry(term: u64, index: u64, size: usize) -> Entry {
    let fill = u8::try_from(index % 251).unwrap();
    Entry { position: at(term, index), kind: 2, payload: Bytes::from(vec![fill; size]) }
}

/// Makes a call and waits until it is durable.
fn wait(call: impl FnOnce(Done)) {
    let (sender, receiver) = mpsc::channel();
    call(Box::new(move |result| sender.send(result).unwrap()));
    receiver.recv().unwrap().unwrap();
}

fn read_all(wal: &Wal) -> Vec<Entry> {
    let state = wal.state();
    let from = state.purged.map_or(0, |purged| purged.index + 1);
    let mut entries = Vec::new();
    loop {
        let next = from + entries.len() as u64;
        let more = wal.read(next, u64::MAX, 10_000).unwrap();
        if more.is_empty() {
            return entries;
        }
        entries.extend(more);
    }
}

#[derive(Clone, Debug)]
enum Step {
    Append(Vec<u16>),
    Truncate(u8),
    Purge(u8),
    PurgeBeyond(u8),
    Vote(u8),
    Committed,
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => prop::collection::vec(0u16..9000, 1..6).prop_map(Step::Append),
        1 => any::<u8>().prop_map(Step::Truncate),
        2 => any::<u8>().prop_map(Step::Purge),
        1 => (1u8..20).prop_map(Step::PurgeBeyond),
        1 => any::<u8>().prop_map(Step::Vote),
        1 => Just(Step::Committed),
        2 => Just(Step::Reopen),
    ]
}

/// The expected content of the log.
#[derive(Default)]
struct Model {
    state: LogState,
    entries: Vec<Entry>,
    term: u64,
}

impl Model {
    fn next_index(&self) -> u64 {
        self.state.last.map_or(0, |last| last.index + 1)
    }

    fn set_last(&mut self) {
        self.state.last = self.entries.last().map(|e| e.position).or(self.state.purged);
    }

    fn apply(&mut self, step: &Step, wal: &Wal, fire: &mut dyn FnMut() -> Done) {
        match step {
            Step::Append(sizes) => {
                let first = self.next_index();
                let new: Vec<Entry> = (first..)
                    .zip(sizes)
                    .map(|(index, size)| entry(self.term, index, usize::from(*size)))
                    .collect();
                self.entries.extend(new.clone());
                self.set_last();
                wal.append(new, fire());
            }
            Step::Truncate(share) => {
                let keep = self.entries.len() * usize::from(*share) / 255;
                self.entries.truncate(keep);
                self.set_last();
                self.term += 1;
                wal.truncate_after(self.entries.last().map(|e| e.position), fire());
            }
            Step::Purge(share) => {
                let gone = self.entries.len() * usize::from(*share) / 255;
                if let Some(last) = self.entries.drain(..gone).last() {
                    self.state.purged = Some(last.position);
                    self.set_last();
                    wal.purge(last.position, fire());
                }
            }
            Step::PurgeBeyond(by) => {
                // The log is as after a snapshot whose last entry has a lower term than the entries
                // it replaces.
                let term = self.term - u64::from(by % 2);
                let upto = at(term, self.next_index() + u64::from(*by));
                self.entries.clear();
                self.state.purged = Some(upto);
                self.set_last();
                wal.purge(upto, fire());
            }
            Step::Vote(vote) => {
                let vote = Bytes::from(vec![*vote]);
                self.state.vote = Some(vote.clone());
                wal.save_vote(vote, fire());
            }
            Step::Committed => {
                if let Some(last) = self.state.last {
                    self.state.committed = Some(last);
                    wal.save_committed(last);
                }
            }
            Step::Reopen => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn holds_what_was_written(steps in prop::collection::vec(step(), 1..60)) {
        let dir = tempfile::tempdir().unwrap();
        let mut model = Model { term: 1, ..Model::default() };
        let mut wal = open(dir.path()).unwrap();
        for step in &steps {
            let (sender, receiver) = mpsc::channel();
            let mut calls = 0;
            model.apply(step, &wal, &mut || {
                calls += 1;
                let sender = sender.clone();
                Box::new(move |result| sender.send(result).unwrap())
            });
            prop_assert_eq!(wal.state(), model.state.clone());
            prop_assert_eq!(read_all(&wal), model.entries.clone());
            for _ in 0..calls {
                receiver.recv().unwrap().unwrap();
            }
            prop_assert_eq!(read_all(&wal), model.entries.clone());
            if matches!(step, Step::Reopen) {
                drop(wal);
                wal = open(dir.path()).unwrap();
                prop_assert_eq!(wal.state(), model.state.clone());
                prop_assert_eq!(read_all(&wal), model.entries.clone());
            }
        }
    }
}

/// The content of the first segment.
fn image(dir: &Path) -> Vec<u8> {
    std::fs::read(segment::path_of(dir, 1)).unwrap()
}

/// Writes a log with a vote and two groups of entries, and then a third group of entries. Returns
/// its segment before and after the third group.
fn three_groups(dir: &Path, last: Vec<Entry>) -> (Vec<u8>, Vec<u8>) {
    let wal = open(dir).unwrap();
    wait(|done| wal.save_vote(Bytes::from_static(b"vote"), done));
    wait(|done| wal.append([entry(1, 0, 100), entry(1, 1, 700)], done));
    wait(|done| wal.append([entry(1, 2, 10)], done));
    let before = image(dir);
    wait(|done| wal.append(last, done));
    drop(wal);
    (before, image(dir))
}

#[test]
fn a_torn_group_is_cut_off_whichever_sectors_were_written() {
    let template = tempfile::tempdir().unwrap();
    // The second entry has whole sectors of zeros: a zero sector there proves nothing.
    let zeros = Entry { payload: Bytes::from(vec![0; 1500]), ..entry(1, 4, 0) };
    let last = vec![entry(1, 3, 600), zeros, entry(1, 5, 300)];
    let (before, after) = three_groups(template.path(), last);
    let changed: Vec<usize> = (0..after.len() / record::SECTOR)
        .filter(|s| {
            let range = s * record::SECTOR..(s + 1) * record::SECTOR;
            before[range.clone()] != after[range]
        })
        .collect();
    assert!((4..=8).contains(&changed.len()), "{changed:?}");
    for written in 0u32..1 << changed.len() {
        let mut torn = before.clone();
        for (bit, sector) in changed.iter().enumerate() {
            if written & (1 << bit) != 0 {
                let range = sector * record::SECTOR..(sector + 1) * record::SECTOR;
                torn[range.clone()].copy_from_slice(&after[range]);
            }
        }
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(segment::path_of(dir.path(), 1), &torn).unwrap();
        let whole = written + 1 == 1 << changed.len();
        let wal = open(dir.path()).unwrap_or_else(|e| panic!("sectors {written:b}: {e}"));
        let entries = read_all(&wal);
        let expected = if whole { 6 } else { 3 };
        assert_eq!(entries.len(), expected, "sectors {written:b}");
        assert_eq!(wal.state().vote.as_deref(), Some(&b"vote"[..]));
        // The remains of the torn group must not reappear later.
        wait(|done| wal.append([entry(2, expected as u64, 5)], done));
        drop(wal);
        let wal = open(dir.path()).unwrap();
        assert_eq!(read_all(&wal).last(), Some(&entry(2, expected as u64, 5)));
        assert_eq!(read_all(&wal).len(), expected + 1);
    }
}

#[test]
fn a_flipped_bit_is_never_read_as_truth() {
    let template = tempfile::tempdir().unwrap();
    let (_, good) = three_groups(template.path(), vec![entry(1, 3, 900), entry(1, 4, 40)]);
    let expected = read_all(&open(template.path()).unwrap());
    let used = good.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    let mut refused = 0;
    for position in 0..used {
        let dir = tempfile::tempdir().unwrap();
        let mut bad = good.clone();
        bad[position] ^= 1 << (position % 8);
        std::fs::write(segment::path_of(dir.path(), 1), &bad).unwrap();
        match open(dir.path()) {
            Err(RecoveryError::Damaged { .. }) => refused += 1,
            Err(other) => panic!("byte {position}: {other}"),
            Ok(wal) => assert_eq!(read_all(&wal), expected, "byte {position}"),
        }
    }
    // Only flips in padding may go unnoticed.
    assert!(used - refused < 64, "{} flips of {used} passed unseen", used - refused);
}

#[test]
fn a_segment_of_another_format_is_refused_and_kept() {
    let dir = tempfile::tempdir().unwrap();
    let length = 64 << 10;
    let mut content = Vec::new();
    let first = Record::Segment { format: crate::format::AUTH_FORMAT + 1, length: length as u64 };
    torn::push_group(&mut content, 0, &[first, Record::Entry(entry(1, 0, 100))]);
    // A group of a form that this version does not know.
    content.extend_from_slice(b"group of a later format");
    content.resize(length, 0);
    std::fs::write(segment::path_of(dir.path(), 1), &content).unwrap();
    let Err(refused) = open(dir.path()) else { panic!("it was opened") };
    assert!(matches!(refused, RecoveryError::Format { .. }), "{refused}");
    assert_eq!(image(dir.path()), content);
}

#[test]
fn damage_in_an_earlier_segment_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let wal = open(dir.path()).unwrap();
    for index in 0..40 {
        wait(|done| wal.append([entry(1, index, 4000)], done));
    }
    drop(wal);
    let first = segment::path_of(dir.path(), 1);
    let good = std::fs::read(&first).unwrap();
    std::fs::write(&first, &good[..good.len() / 2]).unwrap();
    assert!(matches!(open(dir.path()), Err(RecoveryError::Damaged { .. })));
    std::fs::remove_file(&first).unwrap();
    assert!(matches!(open(dir.path()), Err(RecoveryError::Damaged { .. })));
    std::fs::write(&first, &good).unwrap();
    assert_eq!(read_all(&open(dir.path()).unwrap()).len(), 40);
}

#[test]
fn purged_segments_are_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let wal = open(dir.path()).unwrap();
    for index in 0..200 {
        wait(|done| wal.append([entry(1, index, 4000)], done));
        if index % 10 == 9 {
            wait(|done| wal.purge(at(1, index - 5), done));
        }
    }
    drop(wal);
    let segments = segment::list(dir.path()).unwrap();
    assert!(segments.len() <= 3 && segments[0] > 5, "{segments:?}");
    assert_eq!(read_all(&open(dir.path()).unwrap()).len(), 5);
}

#[test]
fn a_foreign_file_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("notes.txt"), "mine").unwrap();
    assert!(matches!(open(dir.path()), Err(RecoveryError::Io { .. })));
    assert!(dir.path().join("notes.txt").exists());
}

#[test]
fn its_own_thread_can_drop_the_last_reference() {
    let dir = tempfile::tempdir().unwrap();
    let wal = Arc::new(open(dir.path()).unwrap());
    let held = wal.clone();
    let (let_go, gate) = mpsc::channel();
    let (sender, receiver) = mpsc::channel();
    wal.sync(Box::new(move |synced| {
        synced.unwrap();
        gate.recv().unwrap();
        drop(held);
        sender.send(()).unwrap();
    }));
    drop(wal);
    let_go.send(()).unwrap();
    receiver.recv().unwrap();
}

/// The obstacle to the next segment is removed before the current one is full.
#[test]
fn a_preparation_that_fails_is_tried_again() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("wal");
    let wal = open(&dir).unwrap();
    let in_the_way = dir.join(format!("{:016x}.tmp", 2));
    std::fs::create_dir(&in_the_way).unwrap();
    let mut index = 0;
    let mut append_until = |bytes: usize| {
        for _ in 0..bytes.div_ceil(8000) {
            wait(|done| wal.append([entry(1, index, 8000)], done));
            index += 1;
        }
    };
    // By now the preparation has begun, and the first segment, which has 64 KiB, is far from full.
    append_until(32 << 10);
    std::fs::remove_dir(&in_the_way).unwrap();
    append_until(200 << 10);
    drop(wal);
    assert_eq!(read_all(&open(&dir).unwrap()).len(), usize::try_from(index).unwrap());
}
