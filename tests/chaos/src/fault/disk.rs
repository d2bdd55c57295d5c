//! A disk that loses unsynced data when its power is cut.
//!
//! ```text
//!   the member's files
//!   ext4 on a loop device      inner: its page cache is the member's page cache
//!   a file, written in full    the cache of the disk: a flush makes it durable
//!   ext4 on a loop device      outer: shut down without a sync, which drops unsynced data
//!   a file
//! ```
//!
//! A single file system loses data that a process wrote and did not sync. With two, the inner
//! device also loses data that it received but did not flush: a direct write is not durable here
//! unless it asks for that.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use quorate_test_support::require::{Need, find};
use quorate_test_support::wait;
use rand::Rng;
use rand::rngs::StdRng;
use tempfile::TempDir;

/// The requirements of such disks on the machine.
pub const NEEDS: [Need; 3] = [Need::Root, Need::LoopDevices, Need::Program("python3")];

/// Size of the disk.
const DISK_MIB: u64 = 768;
/// Size of the file system that holds the disk.
const OUTER_MIB: u64 = DISK_MIB + 96;
/// How long an unmount may take: a killed process may still use the file system.
const UNMOUNT_WITHIN: Duration = Duration::from_secs(20);
/// The script that cuts the power.
const CUT_POWER: &str = include_str!("cut_power.py");

/// The disk, mounted.
#[derive(Debug)]
pub struct Disk {
    outer: Mount,
    inner: Mount,
    off: bool,
    _folder: TempDir,
}

/// A file system in a file.
#[derive(Debug)]
struct Mount {
    image: PathBuf,
    at: PathBuf,
    options: &'static str,
    device: Option<String>,
    mounted: bool,
}

impl Disk {
    /// An empty disk.
    ///
    /// # Panics
    /// When it cannot be created; [`NEEDS`] must be met.
    pub fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("quorate-disk-").tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        // The data need not survive a crash of the machine, so no write waits for its disk.
        let outer = Mount::new(path("outer.img"), path("outer"), "nobarrier,lazytime,noatime");
        let inner = Mount::new(outer.at.join("disk"), path("inner"), "noatime");
        let mut disk = Self { outer, inner, off: false, _folder: folder };
        fs::File::create(&disk.outer.image)
            .and_then(|file| file.set_len(OUTER_MIB << 20))
            .expect("there is space");
        make_file_system(&disk.outer.image);
        disk.outer.mount();
        // Written in full: a sparse file would lose more than a disk loses.
        let count = format!("count={DISK_MIB}");
        let of = format!("of={}", disk.inner.image.display());
        run("dd", &["if=/dev/zero", &of, "bs=1M", &count, "conv=fsync", "status=none"]);
        make_file_system(&disk.inner.image);
        disk.inner.mount();
        run("sync", &["--file-system", &disk.outer.at.display().to_string()]);
        disk
    }

    /// The mount point.
    pub fn path(&self) -> &Path {
        &self.inner.at
    }

    /// Fills the disk. Returns the file that takes the space.
    pub fn fill(&self) -> PathBuf {
        let filler = self.path().join("filler");
        let of = format!("of={}", filler.display());
        let filled = try_run("dd", &["if=/dev/zero", &of, "bs=64K", "status=none"]);
        filled.expect_err("no disk takes everything");
        filler
    }

    /// Freezes the disk: writes and syncs wait until the returned guard is dropped.
    pub fn hang(&self) -> Hang {
        let at = self.path().display().to_string();
        run("fsfreeze", &["--freeze", &at]);
        Hang { at }
    }

    /// Cuts the power: a random part of the unsynced data is kept and the rest is lost. Until
    /// [`Disk::restore`], nothing can be read or written.
    pub fn cut_power(&mut self, rng: &mut StdRng) {
        let mount = self.outer.at.display();
        let disk = self.inner.image.display();
        let seed = rng.random::<u32>().to_string();
        run("python3", &["-c", CUT_POWER, &mount.to_string(), &disk.to_string(), &seed]);
        self.off = true;
    }

    /// Whether the power is cut.
    pub fn is_off(&self) -> bool {
        self.off
    }

    /// Restores the power. No process may still use the disk.
    ///
    /// # Panics
    /// When a process does.
    pub fn restore(&mut self) {
        self.inner.unmount();
        self.outer.unmount();
        self.outer.mount();
        self.inner.mount();
        self.off = false;
    }
}

/// A frozen disk. Dropping it thaws the disk.
#[derive(Debug)]
pub struct Hang {
    at: String,
}

impl Drop for Hang {
    fn drop(&mut self) {
        run("fsfreeze", &["--unfreeze", &self.at]);
    }
}

impl Default for Disk {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.inner.give_up();
        self.outer.give_up();
    }
}

impl Mount {
    fn new(image: PathBuf, at: PathBuf, options: &'static str) -> Self {
        fs::create_dir(&at).expect("the folder is ours");
        Self { image, at, options, device: None, mounted: false }
    }

    fn mount(&mut self) {
        let image = self.image.display().to_string();
        let device = run("losetup", &["--find", "--show", &image]);
        self.device = Some(device.clone());
        let at = self.at.display().to_string();
        run("mount", &["--types", "ext4", "--options", self.options, &device, &at]);
        self.mounted = true;
    }

    fn unmount(&mut self) {
        let at = self.at.display().to_string();
        if self.mounted {
            wait::until("unmounting", UNMOUNT_WITHIN, || try_run("umount", &[&at]).ok());
            self.mounted = false;
        }
        if let Some(device) = self.device.take() {
            run("losetup", &["--detach", &device]);
            // The kernel detaches asynchronously. A second device on the same file would see
            // another state of it.
            let image = self.image.display().to_string();
            wait::until("detaching", UNMOUNT_WITHIN, || {
                let devices = try_run("losetup", &["--associated", &image]).ok()?;
                devices.is_empty().then_some(())
            });
        }
    }

    /// Unmounts and detaches as far as possible.
    fn give_up(&mut self) {
        if self.mounted {
            try_run("umount", &["--lazy", &self.at.display().to_string()]).ok();
        }
        if let Some(device) = self.device.take() {
            try_run("losetup", &["--detach", &device]).ok();
        }
    }
}

fn make_file_system(image: &Path) {
    // Discarding would deallocate the blocks of the image file.
    run("mkfs.ext4", &["-q", "-F", "-E", "nodiscard", &image.display().to_string()]);
}

fn run(program: &str, args: &[&str]) -> String {
    try_run(program, args).unwrap_or_else(|error| panic!("{program} {args:?}: {error}"))
}

/// Runs a program to its end. Returns its output, or why it failed.
fn try_run(program: &str, args: &[&str]) -> Result<String, String> {
    let path = find(program).ok_or("it is not on the PATH")?;
    let output = Command::new(path).args(args).output().map_err(|error| error.to_string())?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
    }
}
