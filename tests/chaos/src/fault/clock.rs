//! A wall clock of its own for one process, by libfaketime.

use std::fs;
use std::path::{Path, PathBuf};

use quorate_test_support::require::Need;

/// What the machine needs for it.
pub const NEEDS: [Need; 1] = [Need::Program("faketime")];

/// Where Debian's package has the library; the program of the same name is a launcher of it.
const LIBRARY: &str = "/usr/$LIB/faketime/libfaketimeMT.so.1";

/// A clock that can be set. The process's monotonic clock is not changed.
#[derive(Debug)]
pub struct FakeClock {
    offset: PathBuf,
}

impl FakeClock {
    /// A clock that is right. What it shows is kept in a file in `folder`.
    ///
    /// # Panics
    /// When the file cannot be written.
    pub fn new(folder: &Path, name: &str) -> Self {
        let clock = Self { offset: folder.join(name) };
        clock.set(0);
        clock
    }

    /// Sets it so many seconds before or behind the time; processes notice within a second.
    ///
    /// # Panics
    /// When the file cannot be written.
    pub fn set(&self, seconds: i64) {
        // A reader must never find half of it.
        let new = self.offset.with_extension("new");
        fs::write(&new, format!("{seconds:+}\n")).expect("the folder is ours");
        fs::rename(&new, &self.offset).expect("the folder is ours");
    }

    /// The program, with its arguments, that starts another one with this clock.
    pub fn launcher(&self) -> Vec<String> {
        let file = format!("FAKETIME_TIMESTAMP_FILE={}", self.offset.display());
        let library = format!("LD_PRELOAD={LIBRARY}");
        let settings = ["FAKETIME_DONT_FAKE_MONOTONIC=1", "FAKETIME_CACHE_DURATION=1"];
        let line = ["env", &library, &file].into_iter().chain(settings);
        line.map(str::to_owned).collect()
    }
}
