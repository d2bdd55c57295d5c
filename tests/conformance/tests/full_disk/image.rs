//! A small disk with ext4 on it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use quorate_test_support::require::Need;
use tempfile::TempDir;

/// What the machine needs for it.
pub(super) const NEEDS: [Need; 3] = [Need::Root, Need::LoopDevices, Need::Program("mount")];

/// The disk, mounted; ends with the value.
#[derive(Debug)]
pub(super) struct Image {
    at: PathBuf,
    _folder: TempDir,
}

impl Image {
    /// An empty disk.
    pub(super) fn new(mib: u64) -> Self {
        let folder = TempDir::new().unwrap();
        let (image, at) = (folder.path().join("image"), folder.path().join("disk"));
        fs::create_dir(&at).unwrap();
        fs::File::create(&image).unwrap().set_len(mib << 20).unwrap();
        run("mkfs.ext4", &["-q".as_ref(), "-F".as_ref(), &image]);
        run("mount", &["-o".as_ref(), "loop,noatime".as_ref(), &image, &at]);
        Self { at, _folder: folder }
    }

    /// Where files are kept.
    pub(super) fn path(&self) -> &Path {
        &self.at
    }

    /// Bytes that can still be written by others than root.
    pub(super) fn free(&self) -> u64 {
        let disk = rustix::fs::statvfs(&self.at).unwrap();
        disk.f_bavail * disk.f_frsize
    }

    /// Takes all that is left, until the value ends.
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

/// Somebody else's file.
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
