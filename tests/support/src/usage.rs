//! Resource usage of a process and size of its files.

use std::fs;
use std::path::Path;

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

/// Total size in bytes of all files below a folder. Files that disappear meanwhile count as 0.
pub fn folder_bytes(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let bytes = entries.map(|entry| match entry.metadata() {
        Ok(data) if data.is_dir() => folder_bytes(&entry.path()),
        Ok(data) => data.len(),
        Err(_) => 0,
    });
    bytes.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_a_usage_above_zero() {
        let usage = Usage::of(std::process::id()).expect("it runs");
        assert!(usage.peak_memory > 1 << 20 && usage.descriptors > 2 && usage.threads > 0);
    }
}
