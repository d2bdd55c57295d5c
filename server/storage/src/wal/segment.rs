//! Segment files: prepared in advance, filled with zeros, written in whole blocks.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use quorate_core::planted::{self, Mistake};
use rustix::fs::{FallocateFlags, OFlags};

use crate::sync;

/// Size of a block. Direct IO requires that a write consists of whole blocks and starts at a
/// multiple of this size.
pub(super) const BLOCK: usize = 4096;
/// Extension of a segment.
const EXTENSION: &str = "wal";
/// Extension of a file that is not a segment yet.
const PREPARING: &str = "tmp";
/// Name of the reserve file. The name has the extension of unfinished files because the reserve
/// file is not part of the log.
const RESERVE: &str = "reserve.tmp";
/// Name of the lock file, which only a log with its own directory (`--wal-dir`) has.
const LOCK: &str = "LOCK";
/// Bytes of zeros in one write.
const ZERO_CHUNK: usize = 1 << 20;

/// A buffer whose content is aligned to [`BLOCK`] in memory.
pub(super) struct AlignedBuffer {
    memory: Vec<u8>,
    start: usize,
}

impl AlignedBuffer {
    /// A buffer of zeros.
    pub(super) fn zeroed(length: usize) -> Self {
        let memory = vec![0; length + BLOCK];
        let start = memory.as_ptr().align_offset(BLOCK);
        Self { memory, start }
    }

    /// The first `length` bytes.
    pub(super) fn slice(&self, length: usize) -> &[u8] {
        &self.memory[self.start..self.start + length]
    }

    /// Copies `content` to the start, pads it with zeros to whole blocks and returns the blocks.
    pub(super) fn fill(&mut self, content: &[u8]) -> &[u8] {
        let whole = content.len().next_multiple_of(BLOCK);
        if self.memory.len() < whole + BLOCK {
            *self = Self::zeroed(whole);
        }
        let blocks = &mut self.memory[self.start..self.start + whole];
        blocks[..content.len()].copy_from_slice(content);
        blocks[content.len()..].fill(0);
        blocks
    }
}

/// How segments are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WriteMode {
    /// Bypasses the page cache. Each write is durable when it returns.
    Direct,
    /// Writes through the page cache and then syncs, because the file system has no direct IO.
    Buffered,
}

/// A segment open for writing.
pub(super) struct SegmentFile {
    file: File,
    mode: WriteMode,
}

impl SegmentFile {
    /// Opens an existing segment. Tries direct IO if `mode` is [`WriteMode::Direct`], and falls
    /// back to buffered writes if the file system refuses direct IO.
    pub(super) fn open(path: &Path, mode: WriteMode) -> io::Result<Self> {
        if mode == WriteMode::Direct {
            let mut flags = OFlags::DIRECT;
            if !sync::is_off() && !planted::has(Mistake::SkipSync) {
                flags |= OFlags::DSYNC;
            }
            match open_direct(path, flags) {
                Ok(file) => return Ok(Self { file, mode }),
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => {}
                Err(error) => return Err(error),
            }
        }
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        Ok(Self { file, mode: WriteMode::Buffered })
    }

    /// Writes whole blocks at `offset` and makes them durable. Returns the duration of the write.
    /// The sync that follows a buffered write does not count.
    pub(super) fn write_durably(&self, blocks: &[u8], offset: u64) -> io::Result<Duration> {
        let started = Instant::now();
        self.file.write_all_at(blocks, offset)?;
        let took = started.elapsed();
        if self.mode == WriteMode::Buffered && !planted::has(Mistake::SkipSync) {
            // `other` replaces the kind of the error. The log retries after errors of the kinds for
            // a full disk, but it must never retry a failed sync: after a failed sync, the content
            // of the page cache is unknown.
            sync::data(&self.file).map_err(io::Error::other)?;
        }
        Ok(took)
    }

    /// How this segment is written.
    pub(super) fn mode(&self) -> WriteMode {
        self.mode
    }
}

fn open_direct(path: &Path, flags: OFlags) -> io::Result<File> {
    let flags = i32::try_from(flags.bits()).expect("open flags fit");
    OpenOptions::new().read(true).write(true).custom_flags(flags).open(path)
}

/// The path of segment `number`.
pub(super) fn path_of(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:016x}.{EXTENSION}"))
}

/// The numbers of the segments in `dir`, ascending.
pub(super) fn list(dir: &Path) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        let extension = path.extension().and_then(|e| e.to_str());
        let stem = path.file_stem().and_then(|s| s.to_str());
        match (extension, stem) {
            (Some(EXTENSION), Some(stem)) => {
                let number = u64::from_str_radix(stem, 16).map_err(|_| foreign(&path))?;
                numbers.push(number);
            }
            (Some(PREPARING), _) | (None, Some(LOCK)) => {}
            _ => return Err(foreign(&path)),
        }
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// Removes files that never became segments. Keeps the reserve file, because a full disk would have
/// no space for a new reserve file.
pub(super) fn remove_unfinished(dir: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        let is_unfinished = path.extension().is_some_and(|extension| extension == PREPARING);
        if is_unfinished && path != dir.join(RESERVE) {
            std::fs::remove_file(&path)?;
        }
    }
    Ok(())
}

fn foreign(path: &Path) -> io::Error {
    let text = format!("{} does not belong to a write-ahead log", path.display());
    io::Error::new(io::ErrorKind::InvalidData, text)
}

/// Makes a file of zeros that [`adopt`] can turn into segment `number`. Calls `pace` after each
/// chunk. `pace` can pause, so that the zeros do not delay the log's own writes. If `pace` returns
/// false, the call succeeds early and leaves an incomplete file, which must not become a segment.
/// Removes the file after an error.
pub(super) fn prepare(
    dir: &Path,
    number: u64,
    length: u64,
    pace: &mut dyn FnMut() -> bool,
) -> io::Result<()> {
    let path = unfinished(dir, number);
    // Do not reuse the file of a failed attempt: pages of that file may be lost without another
    // error.
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut create = OpenOptions::new();
    create.write(true).create_new(true).mode(0o600);
    let plain = create.open(&path)?;
    let filled = plain.set_len(length).and_then(|()| fill(&path, plain, length, pace));
    filled.inspect_err(|_| drop(std::fs::remove_file(&path)))
}

fn fill(path: &Path, plain: File, length: u64, pace: &mut dyn FnMut() -> bool) -> io::Result<()> {
    let file = match open_direct(path, OFlags::DIRECT) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => plain,
        Err(error) => return Err(error),
    };
    let zeros = AlignedBuffer::zeroed(ZERO_CHUNK);
    let mut offset = 0;
    while offset < length {
        let chunk = (length - offset).min(ZERO_CHUNK as u64);
        let whole = usize::try_from(chunk).expect("at most a chunk");
        file.write_all_at(zeros.slice(whole), offset)?;
        offset += chunk;
        if !pace() {
            return Ok(());
        }
    }
    sync::all(&file)
}

fn unfinished(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:016x}.{PREPARING}"))
}

/// Turns the unfinished file `number` into segment `number`. Before that, [`prepare`] or
/// [`use_reserve`] must have completed the file.
pub(super) fn adopt(dir: &Path, number: u64) -> io::Result<()> {
    std::fs::rename(unfinished(dir, number), path_of(dir, number))?;
    sync::dir(dir)
}

/// Size of the reserve file; 0 if it is missing or has holes.
pub(super) fn reserved(dir: &Path) -> u64 {
    let is_whole = |file: &std::fs::Metadata| file.blocks() * 512 >= file.len();
    std::fs::metadata(dir.join(RESERVE)).ok().filter(is_whole).map_or(0, |file| file.len())
}

/// Makes the reserve file. `bytes` must be a multiple of [`BLOCK`].
pub(super) fn reserve(dir: &Path, bytes: u64) -> io::Result<()> {
    let path = dir.join(RESERVE);
    let mut create = OpenOptions::new();
    let file = create.write(true).create(true).truncate(true).mode(0o600).open(&path)?;
    let taken = rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, bytes);
    taken.map_err(io::Error::from).inspect_err(|_| drop(std::fs::remove_file(&path)))
}

/// Turns the reserve file into a file that [`adopt`] can turn into segment `number`. Returns the
/// length of the file.
pub(super) fn use_reserve(dir: &Path, number: u64) -> io::Result<u64> {
    let path = unfinished(dir, number);
    std::fs::rename(dir.join(RESERVE), &path)?;
    let plain = OpenOptions::new().write(true).open(&path)?;
    let length = plain.metadata()?.len();
    fill(&path, plain, length, &mut || true)?;
    Ok(length)
}
