//! Resource usage of a process and size of its files.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The end of the name of an open file that is deleted.
const DELETED: &[u8] = b" (deleted)";
/// Unit of the number of blocks that the system reports for a file.
const BLOCK_BYTES: u64 = 512;

/// Resource usage of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Peak resident memory, in bytes.
    pub peak_memory: u64,
    /// Open file descriptors.
    pub descriptors: usize,
    /// Threads.
    pub threads: usize,
}

impl Usage {
    /// The current usage of process `pid`; `None` if there is no such process.
    pub fn of(pid: u32) -> Option<Self> {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let number = |name: &str| -> Option<u64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse().ok()
        };
        let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count();
        let threads = usize::try_from(number("Threads:")?).ok()?;
        Some(Self { peak_memory: number("VmHWM:")? << 10, descriptors, threads })
    }
}

/// Disk space in bytes of deleted files that process `pid` still has open.
pub fn deleted_bytes(pid: u32) -> u64 {
    let open = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let deleted = open.filter(|file| {
        let name = fs::read_link(file.path()).unwrap_or_default();
        name.as_os_str().as_encoded_bytes().ends_with(DELETED)
    });
    // A file that is closed meanwhile takes no space.
    let blocks = deleted.filter_map(|file| fs::metadata(file.path()).ok());
    blocks.map(|data| data.blocks() * BLOCK_BYTES).sum()
}

/// Disk space in bytes of each file below a folder, without the holes of the file. Files that
/// disappear meanwhile are left out.
pub fn disk_bytes(folder: &Path) -> Vec<u64> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let files = entries.flat_map(|entry| match entry.metadata() {
        Ok(data) if data.is_dir() => disk_bytes(&entry.path()),
        Ok(data) => vec![data.blocks() * BLOCK_BYTES],
        Err(_) => Vec::new(),
    });
    files.collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    #[test]
    fn this_process_has_a_usage_above_zero() {
        let usage = Usage::of(std::process::id()).expect("it runs");
        assert!(usage.peak_memory > 1 << 20 && usage.descriptors > 2 && usage.threads > 0);
    }

    #[test]
    fn a_deleted_file_takes_space_until_it_is_closed() {
        let file = tempfile::tempfile().expect("there is space");
        file.write_all_at(&[1; 8192], 0).expect("there is space");
        file.sync_all().expect("a file can be synced");
        assert!(deleted_bytes(std::process::id()) >= 8192);
    }

    #[test]
    fn a_hole_takes_no_disk_space() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = fs::File::create(folder.path().join("sparse")).expect("it is created");
        file.set_len(1 << 30).expect("it is extended");
        let bytes: u64 = disk_bytes(folder.path()).iter().sum();
        assert!(bytes < 1 << 20, "{bytes}");
    }
}
