//! A disk of a chosen size: an ext4 file system in a file, mounted through a loop device.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;

/// The size of every file system, of which the chosen part can be used. The file is sparse.
const LARGEST: u64 = 16 << 30;

/// A disk of a chosen size: an ext4 file system in a file, mounted through a loop device.
///
/// ext4 grows while it is mounted only for a process with CAP_SYS_RESOURCE, which root in a virtual
/// machine or container may lack. So it is large from the start, and a ballast beside the volume
/// takes the space that is not asked for.
///
/// The loop device belongs to the mount: it goes when the mount or the mount namespace does. Other
/// devices are never touched.
pub(crate) struct Disk {
    image: PathBuf,
    mount_point: PathBuf,
}

impl Disk {
    /// The disk of that name, which need not exist yet.
    pub(crate) fn new(folder: &Path, name: &str) -> Self {
        Self { image: folder.join(format!("{name}.ext4")), mount_point: folder.join(name) }
    }

    /// Where the volume is.
    pub(crate) fn volume(&self) -> PathBuf {
        self.mount_point.join("volume")
    }

    /// Makes and mounts the disk, unless it exists.
    pub(crate) fn make(&self, bytes: u64) -> anyhow::Result<()> {
        if !self.image.exists() {
            let new = self.image.with_extension("new");
            fs::create_dir_all(&self.mount_point)?;
            File::create(&new)?.set_len(LARGEST)?;
            let options = ["-q", "-F", "-m", "0", "-N", "65536", "-J", "size=32"];
            run(Command::new("mkfs.ext4").args(options).arg(&new))?;
            fs::rename(&new, &self.image)?;
        }
        self.mount()?;
        fs::create_dir_all(self.volume())?;
        let ballast = self.ballast(bytes)?.to_string();
        let place = self.mount_point.join("ballast");
        run(Command::new("fallocate").args(["--length", &ballast]).arg(place))?;
        Ok(())
    }

    /// Mounts the disk, unless it is mounted or lost.
    pub(crate) fn mount(&self) -> anyhow::Result<()> {
        if self.image.exists() && !self.is_mounted()? {
            run(Command::new("mount").args(["-o", "loop"]).args([&self.image, &self.mount_point]))?;
        }
        Ok(())
    }

    /// Enlarges the volume while it is in use.
    pub(crate) fn grow(&self, bytes: u64) -> anyhow::Result<()> {
        let ballast = File::options().write(true).open(self.mount_point.join("ballast"))?;
        Ok(ballast.set_len(self.ballast(bytes)?)?)
    }

    /// How large the ballast is beside a volume of so many bytes.
    fn ballast(&self, bytes: u64) -> anyhow::Result<u64> {
        let total = rustix::fs::statvfs(&self.mount_point)?;
        // ext4 keeps some blocks back for itself.
        let usable = total.f_blocks - (total.f_bfree - total.f_bavail);
        (usable * total.f_frsize).checked_sub(bytes).context("more than a disk can have")
    }

    /// Removes the disk with all that is on it.
    pub(crate) fn remove(&self) -> anyhow::Result<()> {
        if self.is_mounted()? {
            run(Command::new("umount").arg(&self.mount_point))?;
        }
        gone(fs::remove_file(&self.image))?;
        gone(fs::remove_dir(&self.mount_point))?;
        Ok(())
    }

    fn is_mounted(&self) -> io::Result<bool> {
        let mounts = fs::read_to_string("/proc/self/mounts")?;
        let point = self.mount_point.to_string_lossy();
        Ok(mounts.lines().any(|line| line.split(' ').nth(1) == Some(&*point)))
    }
}

/// Counts a thing that is gone already as removed.
fn gone(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Runs a command, which must succeed.
fn run(command: &mut Command) -> anyhow::Result<()> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    let errors = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "{command:?}: {}", errors.trim());
    Ok(())
}
