//! A thread that writes to the disk during a measurement, and measures each write.
//!
//! On a shared machine, a server is slow when the disk is. Every few milliseconds, the probe works
//! as a log does: a small write and an fdatasync, on its own file in the same file system. It also
//! records how late it was woken, which reveals busy CPUs.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};

use crate::stats::Latencies;

/// Time between the starts of two writes, if the disk is fast enough.
const PERIOD: Duration = Duration::from_millis(2);
/// Size of a write, about that of a log entry.
const WRITE_BYTES: u64 = 512;
/// Size of the file. It is written once in advance, so that no measured write extends it.
const FILE_BYTES: u64 = 1 << 20;

/// One write.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    /// When the write should have begun.
    pub(crate) due: Instant,
    pub(crate) begun: Instant,
    pub(crate) ended: Instant,
}

impl Sample {
    /// How long the write and its fdatasync took.
    pub(crate) fn latency(&self) -> Duration {
        self.ended - self.begun
    }
}

/// The thread that writes; it ends when this is stopped or dropped.
pub(crate) struct Probe {
    is_stopped: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<Vec<Sample>>>>,
}

impl Probe {
    /// Starts to write to a new file in `folder`.
    pub(crate) fn start(folder: &Path) -> Result<Self> {
        let file = tempfile::tempfile_in(folder)?;
        file.write_all_at(&vec![1; usize::try_from(FILE_BYTES)?], 0)?;
        file.sync_all()?;
        let is_stopped = Arc::new(AtomicBool::new(false));
        let stop = is_stopped.clone();
        let thread = thread::Builder::new().name("probe".to_owned());
        let thread = thread.spawn(move || writes(&file, &stop))?;
        Ok(Self { is_stopped, thread: Some(thread) })
    }

    /// Stops the probe, and returns all its writes in order.
    pub(crate) fn stop(mut self) -> Result<Vec<Sample>> {
        self.is_stopped.store(true, Ordering::Relaxed);
        let thread = self.thread.take().context("the probe is stopped already")?;
        thread.join().map_err(|_| anyhow!("the thread of the probe has panicked"))?
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.is_stopped.store(true, Ordering::Relaxed);
    }
}

fn writes(file: &File, is_stopped: &AtomicBool) -> Result<Vec<Sample>> {
    let block = vec![2; usize::try_from(WRITE_BYTES)?];
    let mut samples = Vec::new();
    let mut due = Instant::now();
    let mut offset = 0;
    while !is_stopped.load(Ordering::Relaxed) {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let begun = Instant::now();
        file.write_all_at(&block, offset)?;
        file.sync_data()?;
        let ended = Instant::now();
        samples.push(Sample { due, begun, ended });
        offset = (offset + WRITE_BYTES) % FILE_BYTES;
        due = (due + PERIOD).max(ended);
    }
    Ok(samples)
}

/// Latencies of the disk over `time`, while nothing else is measured.
pub(crate) fn watch(folder: &Path, time: Duration) -> Result<Latencies> {
    let probe = Probe::start(folder)?;
    thread::sleep(time);
    Ok(Latencies::of(probe.stop()?.iter().map(Sample::latency)))
}
