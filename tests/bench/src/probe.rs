//! A thread that writes to the disk beside a measurement, and knows how long that took.
//!
//! A server on a shared machine is slow when the disk is. The probe does what a log does – a small
//! write and an fdatasync – on a file of its own in the same file system, every few milliseconds,
//! and notes besides how late it was woken: that shows processors that were busy.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};

use crate::stats::Latencies;

/// Time from one write to the next, if the disk is not slower than that.
const PERIOD: Duration = Duration::from_millis(2);
/// Size of a write: about that of an entry of a log.
const WRITE_BYTES: u64 = 512;
/// Size of the file. It is written once beforehand, so that no write has to grow it.
const FILE_BYTES: u64 = 1 << 20;

/// One write.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    /// When it should have begun.
    pub(crate) due: Instant,
    pub(crate) begun: Instant,
    pub(crate) ended: Instant,
}

impl Sample {
    /// How long the disk took.
    pub(crate) fn latency(&self) -> Duration {
        self.ended - self.begun
    }
}

/// The running thread.
pub(crate) struct Probe {
    is_stopped: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<Vec<Sample>>>>,
}

impl Probe {
    /// Begins to write to a file in `folder`.
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

    /// Ends it, and returns all its writes in order.
    pub(crate) fn stop(mut self) -> Result<Vec<Sample>> {
        self.is_stopped.store(true, Ordering::Relaxed);
        let thread = self.thread.take().context("it is stopped once")?;
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

/// Latencies of the disk alone, while nothing else is measured, for so long.
pub(crate) fn watch(folder: &Path, time: Duration) -> Result<Latencies> {
    let probe = Probe::start(folder)?;
    thread::sleep(time);
    Ok(Latencies::of(probe.stop()?.iter().map(Sample::latency)))
}
