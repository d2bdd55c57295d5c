//! The database's file as redb writes it: writes that leave the disk to the log, and that outlast a
//! disk without room.
//!
//! redb does nothing any more, not even read, once a write has failed. So what finds no room is
//! kept in memory for the moment, as if it were written. The next sync waits until there is room
//! and writes it: at a sync nobody holds what readers need.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use prometheus::Histogram;
use redb::StorageBackend;

use crate::space::{Waiting, is_full};
use crate::sync;

/// Pause after each sync of a part.
const PACE_PAUSE: Duration = Duration::from_millis(1);
/// What is kept in memory is kept in blocks of this size, which files are a multiple of.
const BLOCK: u64 = 4096;
const BLOCK_LEN: usize = 4096;
/// Blocks kept in memory above which a write waits as well.
const KEPT_BLOCKS_MAX: usize = (64 << 20) / BLOCK_LEN;

/// Whether writes to a file wait for room. Those to a file that is not in use fail: it is removed
/// then, which gives room.
#[derive(Clone, Debug, Default)]
pub(super) struct Patience {
    waiting: Arc<Waiting>,
    is_in_use: Arc<AtomicBool>,
}

impl Patience {
    /// For a file that is not in use yet.
    pub(super) fn new(waiting: Arc<Waiting>) -> Self {
        Self { waiting, is_in_use: Arc::default() }
    }

    /// The file is in use from now on.
    pub(super) fn begin(&self) {
        self.is_in_use.store(true, Ordering::Relaxed);
    }

    fn is_there(&self) -> bool {
        self.is_in_use.load(Ordering::Relaxed) && !self.waiting.is_over()
    }
}

/// What found no room, by number of block.
type Kept = BTreeMap<u64, Box<[u8]>>;

/// Where a block and so many bytes at `offset` overlap: in the block, and in the bytes.
fn overlap(number: u64, offset: u64, length: usize) -> (Range<usize>, Range<usize>) {
    let start = number * BLOCK;
    let (from, to) = (offset.max(start), (offset + length as u64).min(start + BLOCK));
    let at = |place: u64, origin: u64| usize::try_from(place - origin).expect("it is in memory");
    (at(from, start)..at(to, start), at(from, offset)..at(to, offset))
}

/// A file that syncs as it is written, a little at a time.
#[derive(Debug)]
pub(super) struct PacedFile {
    file: File,
    path: PathBuf,
    pace_bytes: u64,
    unsynced: AtomicU64,
    /// How long the disk takes for each sync.
    syncs: Histogram,
    patience: Patience,
    kept: Mutex<Kept>,
    /// Whether something is kept, for those who find nothing.
    keeps: AtomicBool,
}

impl PacedFile {
    pub(super) fn open(
        path: &Path,
        pace_bytes: u64,
        syncs: Histogram,
        patience: Patience,
    ) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let (file, unsynced) = (options.open(path)?, AtomicU64::new(0));
        let (kept, keeps, path) = (Mutex::default(), AtomicBool::new(false), path.to_owned());
        Ok(Self { file, path, pace_bytes, unsynced, syncs, patience, kept, keeps })
    }

    /// Keeps what found no room, over what was kept before.
    fn keep(&self, kept: &mut Kept, offset: u64, data: &[u8]) -> io::Result<()> {
        let end = offset + data.len() as u64;
        for number in offset / BLOCK..end.div_ceil(BLOCK) {
            let block = match kept.entry(number) {
                Entry::Occupied(entry) => entry.into_mut(),
                Entry::Vacant(entry) => {
                    let mut block = vec![0; BLOCK_LEN].into_boxed_slice();
                    self.file.read_exact_at(&mut block, number * BLOCK)?;
                    entry.insert(block)
                }
            };
            let (inside, of) = overlap(number, offset, data.len());
            block[inside].copy_from_slice(&data[of]);
        }
        self.keeps.store(!kept.is_empty(), Ordering::Release);
        Ok(())
    }

    /// Writes what is kept, and waits for the room that it takes.
    fn settle(&self) -> io::Result<()> {
        if !self.keeps.load(Ordering::Acquire) {
            return Ok(());
        }
        let needed = self.kept.lock().len() as u64 * BLOCK;
        self.patience.waiting.until_there_is_room(&self.path, needed, || {
            let mut kept = self.kept.lock();
            while let Some((number, block)) = kept.first_key_value() {
                self.file.write_all_at(block, number * BLOCK)?;
                kept.pop_first();
            }
            self.keeps.store(false, Ordering::Release);
            Ok(())
        })
    }

    fn sync(&self) -> io::Result<()> {
        self.unsynced.store(0, Ordering::Relaxed);
        let started = Instant::now();
        sync::data(&self.file)?;
        self.syncs.observe(started.elapsed().as_secs_f64());
        Ok(())
    }
}

impl StorageBackend for PacedFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        if !self.keeps.load(Ordering::Acquire) {
            return self.file.read_exact_at(out, offset);
        }
        let kept = self.kept.lock();
        self.file.read_exact_at(out, offset)?;
        let end = offset + out.len() as u64;
        for (number, block) in kept.range(offset / BLOCK..end.div_ceil(BLOCK)) {
            let (inside, of) = overlap(*number, offset, out.len());
            out[of].copy_from_slice(&block[inside]);
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut kept = self.kept.lock();
        kept.split_off(&len.div_ceil(BLOCK));
        self.keeps.store(!kept.is_empty(), Ordering::Release);
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.settle()?;
        self.sync()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut kept = self.kept.lock();
        if kept.is_empty() {
            match self.file.write_all_at(data, offset) {
                Ok(()) => {
                    drop(kept);
                    let length = data.len() as u64;
                    let unsynced = self.unsynced.fetch_add(length, Ordering::Relaxed) + length;
                    if unsynced >= self.pace_bytes {
                        self.sync()?;
                        std::thread::sleep(PACE_PAUSE);
                    }
                    return Ok(());
                }
                Err(error) if is_full(&error) && self.patience.is_there() => {}
                Err(error) => return Err(error),
            }
        }
        self.keep(&mut kept, offset, data)?;
        let is_too_much = kept.len() > KEPT_BLOCKS_MAX;
        drop(kept);
        if is_too_much { self.settle() } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file whose next writes find no room, until they may.
    fn full(dir: &Path) -> PacedFile {
        let file = dir.join("file");
        let syncs = Histogram::with_opts(prometheus::HistogramOpts::new("s", "s")).unwrap();
        let waiting = Arc::new(Waiting::default());
        waiting.allow();
        let paced = PacedFile::open(&file, 1 << 20, syncs, Patience::new(waiting)).unwrap();
        paced.set_len(8 * BLOCK).unwrap();
        paced.write(0, &[1; 8 * BLOCK_LEN]).unwrap();
        paced
    }

    #[test]
    fn what_is_kept_is_read_and_written_at_the_next_sync() {
        let dir = tempfile::tempdir().unwrap();
        let file = full(dir.path());
        let mut expected = vec![1; 8 * BLOCK_LEN];
        let writes = [(0, 320, 2), (BLOCK, 2 * BLOCK_LEN, 3), (2 * BLOCK, BLOCK_LEN, 4)];
        for (offset, length, byte) in writes {
            let data = vec![byte; length];
            file.keep(&mut file.kept.lock(), offset, &data).unwrap();
            let offset = usize::try_from(offset).unwrap();
            expected[offset..offset + length].copy_from_slice(&data);
        }
        // Behind what is kept, everything is.
        file.write(5 * BLOCK, &[5; BLOCK_LEN]).unwrap();
        expected[5 * BLOCK_LEN..6 * BLOCK_LEN].fill(5);
        let read = |from: usize, length: usize| {
            let mut out = vec![0; length];
            file.read(from as u64, &mut out).unwrap();
            out
        };
        assert!(std::fs::read(&file.path).unwrap() == vec![1; 8 * BLOCK_LEN]);
        assert!(read(0, 8 * BLOCK_LEN) == expected);
        assert!(read(300, 5000) == expected[300..5300]);
        file.sync_data().unwrap();
        assert!(file.kept.lock().is_empty() && !file.keeps.load(Ordering::Relaxed));
        assert!(std::fs::read(&file.path).unwrap() == expected);
    }

    #[test]
    fn what_a_shorter_file_loses_is_not_kept() {
        let dir = tempfile::tempdir().unwrap();
        let file = full(dir.path());
        file.keep(&mut file.kept.lock(), 0, &[2; 8 * BLOCK_LEN]).unwrap();
        file.set_len(3 * BLOCK).unwrap();
        file.sync_data().unwrap();
        assert!(std::fs::read(&file.path).unwrap() == vec![2; 3 * BLOCK_LEN]);
    }
}
