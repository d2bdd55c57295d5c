//! Segment files: made in advance, filled with zeros, written in whole blocks.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use quorate_core::planted::{self, Mistake};
use rustix::fs::{FallocateFlags, OFlags};

use crate::sync;

/// Blocks are written whole, at multiples of their size: what direct IO asks for.
pub(super) const BLOCK: usize = 4096;
/// Ending of a segment's file name.
const EXTENSION: &str = "wal";
/// Ending of a file that becomes a segment.
const PREPARING: &str = "tmp";
/// Name of the file that keeps room for a segment. With the ending of what is not finished: it
/// takes no part in the log.
const RESERVE: &str = "reserve.tmp";
/// Zeros are written this many bytes at a time.
const ZERO_CHUNK: usize = 1 << 20;

/// A buffer whose content begins at a multiple of [`BLOCK`] in memory.
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

    /// Copies `content` to the start and zeros up to the next block; returns those whole blocks.
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
    /// Around the page cache, each write durable when it returns.
    Direct,
    /// Through the page cache, then synced: where the file system refuses direct IO.
    Buffered,
}

/// A segment open for writing.
pub(super) struct SegmentFile {
    file: File,
    mode: WriteMode,
}

impl SegmentFile {
    /// Opens an existing segment. Direct IO is tried unless `mode` rules it out.
    pub(super) fn open(path: &Path, mode: WriteMode) -> io::Result<Self> {
        if mode == WriteMode::Direct {
            let synced = match sync::is_off() || planted::has(Mistake::SkipSync) {
                true => OFlags::empty(),
                false => OFlags::DSYNC,
            };
            match open_direct(path, OFlags::DIRECT | synced) {
                Ok(file) => return Ok(Self { file, mode }),
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => {}
                Err(error) => return Err(error),
            }
        }
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        Ok(Self { file, mode: WriteMode::Buffered })
    }

    /// Writes whole blocks at `offset` and makes them durable. Returns what the write alone took.
    pub(super) fn write_durably(&self, blocks: &[u8], offset: u64) -> io::Result<Duration> {
        let started = Instant::now();
        self.file.write_all_at(blocks, offset)?;
        let took = started.elapsed();
        if self.mode == WriteMode::Buffered && !planted::has(Mistake::SkipSync) {
            // Never tried again, whatever the reason: what the page cache then holds is unknown.
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
            (Some(PREPARING), _) => {}
            _ => return Err(foreign(&path)),
        }
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// Removes files that never became segments. What is reserved stays: on a full disk it could not be
/// had again.
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

/// Makes a file of zeros that [`adopt`] can turn into segment `number`. `pace` is called between
/// chunks, so that filling a file need not disturb the writes of the log beside it; it can end the
/// work by returning false. A file that cannot be filled is removed.
pub(super) fn prepare(
    dir: &Path,
    number: u64,
    length: u64,
    pace: &mut dyn FnMut() -> bool,
) -> io::Result<()> {
    let path = unfinished(dir, number);
    // What an attempt that failed has left is not used: its pages may be lost without an error.
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

/// Turns a prepared file into segment `number`.
pub(super) fn adopt(dir: &Path, number: u64) -> io::Result<()> {
    std::fs::rename(unfinished(dir, number), path_of(dir, number))?;
    sync::dir(dir)
}

/// How much is reserved.
pub(super) fn reserved(dir: &Path) -> u64 {
    let is_whole = |file: &std::fs::Metadata| file.blocks() * 512 >= file.len();
    std::fs::metadata(dir.join(RESERVE)).ok().filter(is_whole).map_or(0, |file| file.len())
}

/// Takes `bytes`, whole blocks, of the disk for a segment that finds no other room.
pub(super) fn reserve(dir: &Path, bytes: u64) -> io::Result<()> {
    let path = dir.join(RESERVE);
    let mut create = OpenOptions::new();
    let file = create.write(true).create(true).truncate(true).mode(0o600).open(&path)?;
    let taken = rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, bytes);
    taken.map_err(io::Error::from).inspect_err(|_| drop(std::fs::remove_file(&path)))
}

/// Makes what is reserved a file that [`adopt`] can turn into segment `number`; returns its length.
pub(super) fn spend_reserve(dir: &Path, number: u64) -> io::Result<u64> {
    let path = unfinished(dir, number);
    std::fs::rename(dir.join(RESERVE), &path)?;
    let plain = OpenOptions::new().write(true).open(&path)?;
    let length = plain.metadata()?.len();
    fill(&path, plain, length, &mut || true)?;
    Ok(length)
}
