//! A separate wall clock for one process, through libfaketime.

use std::fs;
use std::path::{Path, PathBuf};

use quorate_test_support::require::Need;

/// The requirements of fake clocks on the machine.
pub const NEEDS: [Need; 1] = [Need::Program("faketime")];

/// The library in Debian's package; the `faketime` program only launches it.
const LIBRARY: &str = "/usr/$LIB/faketime/libfaketimeMT.so.1";

/// A wall clock that can be set. The monotonic clock of the process does not change.
#[derive(Debug)]
pub struct FakeClock {
    offset: PathBuf,
}

impl FakeClock {
    /// A clock with the correct time. It keeps its offset in a file in `folder`.
    ///
    /// # Panics
    /// When the file cannot be written.
    pub fn new(folder: &Path, name: &str) -> Self {
        let clock = Self { offset: folder.join(name) };
        clock.set(0);
        clock
    }

    /// Sets the offset from the correct time in seconds. Processes notice within a second.
    ///
    /// # Panics
    /// When the file cannot be written.
    pub fn set(&self, seconds: i64) {
        // A reader must never see a partial file.
        let new = self.offset.with_extension("new");
        fs::write(&new, format!("{seconds:+}\n")).expect("the folder is ours");
        fs::rename(&new, &self.offset).expect("the folder is ours");
    }

    /// The command line that starts a program with this clock.
    pub fn launcher(&self) -> Vec<String> {
        let file = format!("FAKETIME_TIMESTAMP_FILE={}", self.offset.display());
        let library = format!("LD_PRELOAD={LIBRARY}");
        let settings = ["FAKETIME_DONT_FAKE_MONOTONIC=1", "FAKETIME_CACHE_DURATION=1"];
        let line = ["env", &library, &file].into_iter().chain(settings);
        line.map(str::to_owned).collect()
    }
}
