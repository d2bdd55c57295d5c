//! The file under redb. It syncs in small portions, so that the log can write between them, and it
//! survives a full disk.
//!
//! After a failed write redb refuses every further call, even reads. So if the disk is full, the
//! file keeps written blocks in memory and reads them from there. The next sync waits for disk
//! space and writes them: during a sync redb holds no lock that readers need.

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

use crate::space::{FullDiskRetry, is_full};
use crate::sync;

/// Pause after each early sync.
const PACE_PAUSE: Duration = Duration::from_millis(1);
/// Size of the blocks kept in memory. The size of a file is a multiple of it.
const BLOCK: u64 = 4096;
const BLOCK_LEN: usize = 4096;
/// A write also waits for disk space if more blocks than this are kept in memory.
const KEPT_BLOCKS_MAX: usize = (64 << 20) / BLOCK_LEN;

/// The outcome of a write when the disk is full. In the file in use, the blocks stay in memory
/// until the disk has space. In any other file the write fails: the file is then removed, which
/// frees space.
#[derive(Clone, Debug, Default)]
pub(super) struct FullDiskPolicy {
    shared: Arc<FullDiskRetry>,
    is_in_use: Arc<AtomicBool>,
}

impl FullDiskPolicy {
    /// The policy of a file that is not in use yet.
    pub(super) fn new(shared: Arc<FullDiskRetry>) -> Self {
        Self { shared, is_in_use: Arc::default() }
    }

    /// Marks the file as in use.
    pub(super) fn set_in_use(&self) {
        self.is_in_use.store(true, Ordering::Relaxed);
    }

    fn keeps_blocks(&self) -> bool {
        self.is_in_use.load(Ordering::Relaxed) && !self.shared.is_disabled()
    }
}

/// Blocks that did not fit on the disk, by block number.
type Blocks = BTreeMap<u64, Box<[u8]>>;

/// The overlap of block `number` with `length` bytes at `offset`, as a range in the block and as a
/// range in the bytes.
fn overlap(number: u64, offset: u64, length: usize) -> (Range<usize>, Range<usize>) {
    let start = number * BLOCK;
    let from = offset.max(start);
    let to = (offset + length as u64).min(start + BLOCK);
    let at = |place: u64, origin: u64| usize::try_from(place - origin).expect("it is in memory");
    (at(from, start)..at(to, start), at(from, offset)..at(to, offset))
}

/// A file that syncs itself whenever `pace_bytes` unsynced bytes are written.
#[derive(Debug)]
pub(super) struct PacedFile {
    file: File,
    path: PathBuf,
    pace_bytes: u64,
    /// Bytes written since the last sync.
    unsynced: AtomicU64,
    /// Duration in seconds of each sync.
    syncs: Histogram,
    full_disk: FullDiskPolicy,
    kept: Mutex<Blocks>,
    /// Whether `kept` has blocks. Calls need not lock an empty `kept`.
    has_kept: AtomicBool,
}

impl PacedFile {
    pub(super) fn open(
        path: &Path,
        pace_bytes: u64,
        syncs: Histogram,
        full_disk: FullDiskPolicy,
    ) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        Ok(Self {
            file: options.open(path)?,
            path: path.to_owned(),
            pace_bytes,
            unsynced: AtomicU64::new(0),
            syncs,
            full_disk,
            kept: Mutex::default(),
            has_kept: AtomicBool::new(false),
        })
    }

    /// Keeps written bytes in memory because they do not fit on the disk.
    fn keep(&self, kept: &mut Blocks, offset: u64, data: &[u8]) -> io::Result<()> {
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
        self.has_kept.store(!kept.is_empty(), Ordering::Release);
        Ok(())
    }

    /// Writes the kept blocks to the file; waits for disk space.
    fn write_kept(&self) -> io::Result<()> {
        if !self.has_kept.load(Ordering::Acquire) {
            return Ok(());
        }
        let needed = self.kept.lock().len() as u64 * BLOCK;
        self.full_disk.shared.retry(&self.path, needed, || {
            let mut kept = self.kept.lock();
            while let Some((number, block)) = kept.first_key_value() {
                self.file.write_all_at(block, number * BLOCK)?;
                kept.pop_first();
            }
            self.has_kept.store(false, Ordering::Release);
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
        if !self.has_kept.load(Ordering::Acquire) {
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
        self.has_kept.store(!kept.is_empty(), Ordering::Release);
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.write_kept()?;
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
                Err(error) if is_full(&error) && self.full_disk.keeps_blocks() => {}
                Err(error) => return Err(error),
            }
        }
        self.keep(&mut kept, offset, data)?;
        let is_too_many = kept.len() > KEPT_BLOCKS_MAX;
        drop(kept);
        if is_too_many { self.write_kept() } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file of eight blocks that is marked as not in use.
    fn file_of_ones(dir: &Path) -> PacedFile {
        let file = dir.join("file");
        let syncs = Histogram::with_opts(prometheus::HistogramOpts::new("s", "s")).unwrap();
        let retry = Arc::new(FullDiskRetry::default());
        retry.enable();
        let policy = FullDiskPolicy::new(retry);
        let paced = PacedFile::open(&file, 1 << 20, syncs, policy).unwrap();
        paced.set_len(8 * BLOCK).unwrap();
        paced.write(0, &[1; 8 * BLOCK_LEN]).unwrap();
        paced
    }

    #[test]
    fn kept_blocks_are_read_and_written_at_the_next_sync() {
        let dir = tempfile::tempdir().unwrap();
        let file = file_of_ones(dir.path());
        let mut expected = vec![1; 8 * BLOCK_LEN];
        let writes = [(0, 320, 2), (BLOCK, 2 * BLOCK_LEN, 3), (2 * BLOCK, BLOCK_LEN, 4)];
        for (offset, length, byte) in writes {
            let data = vec![byte; length];
            file.keep(&mut file.kept.lock(), offset, &data).unwrap();
            let offset = usize::try_from(offset).unwrap();
            expected[offset..offset + length].copy_from_slice(&data);
        }
        // While blocks are kept, every further write is kept.
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
        assert!(file.kept.lock().is_empty() && !file.has_kept.load(Ordering::Relaxed));
        assert!(std::fs::read(&file.path).unwrap() == expected);
    }

    #[test]
    fn truncation_drops_kept_blocks() {
        let dir = tempfile::tempdir().unwrap();
        let file = file_of_ones(dir.path());
        file.keep(&mut file.kept.lock(), 0, &[2; 8 * BLOCK_LEN]).unwrap();
        file.set_len(3 * BLOCK).unwrap();
        file.sync_data().unwrap();
        assert!(std::fs::read(&file.path).unwrap() == vec![2; 3 * BLOCK_LEN]);
    }
}
