//! A small disk with an ext4 file system.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use quorate_test_support::require::Need;
use tempfile::TempDir;

/// The requirements on the machine.
pub(super) const NEEDS: [Need; 3] = [Need::Root, Need::LoopDevices, Need::Program("mount")];

/// A mounted disk image, unmounted on drop.
#[derive(Debug)]
pub(super) struct Image {
    at: PathBuf,
    _folder: TempDir,
}

impl Image {
    /// An empty disk of `mib` MiB.
    pub(super) fn new(mib: u64) -> Self {
        let folder = TempDir::new().unwrap();
        let image = folder.path().join("image");
        let at = folder.path().join("disk");
        fs::create_dir(&at).unwrap();
        fs::File::create(&image).unwrap().set_len(mib << 20).unwrap();
        run("mkfs.ext4", &["-q".as_ref(), "-F".as_ref(), &image]);
        run("mount", &["-o".as_ref(), "loop,noatime".as_ref(), &image, &at]);
        Self { at, _folder: folder }
    }

    /// The mount point.
    pub(super) fn path(&self) -> &Path {
        &self.at
    }

    /// Free bytes for users other than root.
    pub(super) fn free(&self) -> u64 {
        let disk = rustix::fs::statvfs(&self.at).unwrap();
        disk.f_bavail * disk.f_frsize
    }

    /// Fills the disk until the returned value is dropped.
    pub(super) fn fill(&self) -> Filler {
        let filler = self.at.join("filler");
        let of = format!("of={}", filler.display());
        let mut dd = Command::new("dd");
        let done = dd.args(["if=/dev/zero", &of, "bs=64K", "status=none"]).output().unwrap();
        assert!(!done.status.success(), "no disk takes everything");
        Filler(filler)
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        run("umount", &["-l".as_ref(), &self.at]);
    }
}

/// A file that fills the disk; deleted on drop.
#[derive(Debug)]
pub(super) struct Filler(PathBuf);

impl Drop for Filler {
    fn drop(&mut self) {
        fs::remove_file(&self.0).unwrap();
    }
}

fn run(program: &str, args: &[&Path]) {
    let status = Command::new(program).args(args).status().unwrap();
    assert!(status.success(), "{program} {args:?}");
}
