//! Resource usage of a process as counted by the kernel: CPU time, bytes written, memory.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};

/// Resources that a process has used since its start.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    /// CPU time of all its threads, in user and kernel mode, with a resolution of 10 ms.
    pub(crate) cpu: Duration,
    /// Bytes that it caused to be written to the disk, without preallocated blocks.
    pub(crate) written_bytes: u64,
}

impl Usage {
    /// The usage of a running process.
    pub(crate) fn of(pid: u32) -> Result<Self> {
        let stat = read(pid, "stat")?;
        let io = read(pid, "io")?;
        let cpu = ticks(&stat, &[14, 15]).context("unreadable stat")?;
        let written_bytes = field(&io, "write_bytes:").context("unreadable io")?;
        Ok(Self { cpu, written_bytes })
    }

    /// The sum of the usage of two processes.
    pub(crate) fn and(&self, other: &Self) -> Self {
        Self { cpu: self.cpu + other.cpu, written_bytes: self.written_bytes + other.written_bytes }
    }

    /// The usage since `earlier`.
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        Self {
            cpu: self.cpu.saturating_sub(earlier.cpu),
            written_bytes: self.written_bytes.saturating_sub(earlier.written_bytes),
        }
    }
}

/// Memory of a process, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Memory {
    /// Resident memory.
    pub(crate) total: u64,
    /// Anonymous part of it: heap and stacks.
    pub(crate) anonymous: u64,
    /// Part of it that is pages of mapped files, including the program's.
    pub(crate) file: u64,
    /// Peak resident memory.
    pub(crate) peak: u64,
}

impl Memory {
    /// The memory of a running process.
    pub(crate) fn of(pid: u32) -> Result<Self> {
        let status = read(pid, "status")?;
        let bytes = |name: &str| {
            let kibibytes: Option<u64> = field(&status, name);
            kibibytes.map(|n| n * 1024).with_context(|| format!("status has no {name}"))
        };
        Ok(Self {
            total: bytes("VmRSS:")?,
            anonymous: bytes("RssAnon:")?,
            file: bytes("RssFile:")?,
            peak: bytes("VmHWM:")?,
        })
    }
}

/// Resets the process's peak of resident memory.
///
/// # Errors
/// If there is no such process, or it belongs to another user.
pub(crate) fn forget_peak(pid: u32) -> Result<()> {
    let path = format!("/proc/{pid}/clear_refs");
    fs::write(&path, "5").with_context(|| path)
}

/// CPU time of this process, and of its child processes that have ended.
pub(crate) fn own_cpu() -> Result<Duration> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    ticks(&stat, &[14, 15, 16, 17]).context("unreadable stat")
}

/// CPU time used on the whole machine, including time stolen by a hypervisor.
pub(crate) fn machine_cpu() -> Result<Duration> {
    let stat = fs::read_to_string("/proc/stat")?;
    let line = stat.lines().next().context("/proc/stat is empty")?;
    let times: Vec<u64> = line.split_whitespace().filter_map(|n| n.parse().ok()).collect();
    // Fields: user, nice, system, idle, iowait, irq, softirq, steal. All but idle and iowait count;
    // guest time is part of user.
    let used = [0, 1, 2, 5, 6, 7].iter().filter_map(|&at| times.get(at)).sum();
    Ok(from_ticks(used))
}

fn read(pid: u32, name: &str) -> Result<String> {
    let path = format!("/proc/{pid}/{name}");
    fs::read_to_string(&path).with_context(|| path)
}

/// The sum of these fields of `stat`, numbered from 1 as in proc(5), as a duration.
fn ticks(stat: &str, fields: &[usize]) -> Option<Duration> {
    // Field 2 is the program's name in parentheses, and may contain spaces.
    let (_, rest) = stat.rsplit_once(')')?;
    let rest: Vec<&str> = rest.split_whitespace().collect();
    let mut sum = 0;
    for field in fields {
        sum += rest.get(field - 3)?.parse::<u64>().ok()?;
    }
    Some(from_ticks(sum))
}

fn from_ticks(ticks: u64) -> Duration {
    let millis = ticks * 1000 / rustix::param::clock_ticks_per_second();
    Duration::from_millis(millis)
}

fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_stat_are_numbered_as_in_proc_5() {
        let stat = "42 (a b) c) S 1 2 3 4 5 6 7 8 9 10 1234 66 7 8 20 0";
        assert_eq!(ticks(stat, &[14, 15]), Some(from_ticks(1300)));
        assert_eq!(ticks(stat, &[16, 17]), Some(from_ticks(15)));
        assert_eq!(ticks("42 (short) S", &[14]), None);
    }

    #[test]
    fn this_process_has_a_usage_above_zero() {
        let pid = std::process::id();
        let memory = Memory::of(pid).unwrap();
        assert!(memory.total > 0 && memory.peak >= memory.total);
        assert!(memory.anonymous + memory.file <= memory.total);
        assert!(Usage::of(pid).is_ok());
        assert!(machine_cpu().unwrap() > Duration::ZERO);
    }
}
