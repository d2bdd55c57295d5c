//! Reads the memory budget: the bytes of requests, answers and events that may be in flight.

use std::fs;
use std::path::{Path, PathBuf};

use super::reader::Reader;

const FLAG: &str = "memory-budget";
/// The default budget is this fraction of the memory (1/12). The rest is for the state in memory,
/// the database's cache, the log's entry cache, and memory that the allocator has not returned.
const PART: u64 = 12;
/// The smallest budget in bytes.
const BYTES_MIN: usize = 16 << 20;
/// The budget must have room for this many messages of the largest size.
const MESSAGES_MIN: usize = 4;
/// Bytes of the largest message in addition to the largest request.
const MESSAGE_OVERHEAD: usize = 512 << 10;

/// Reads the budget in bytes. A request has at most `max_request_bytes`.
pub(super) fn read(reader: &mut Reader<'_>, max_request_bytes: usize) -> usize {
    let least = max_request_bytes.saturating_add(MESSAGE_OVERHEAD).saturating_mul(MESSAGES_MIN);
    let least = least.max(BYTES_MIN);
    match reader.number::<usize>(FLAG, "a number of bytes") {
        0 => usize::try_from(memory(Path::new("/")) / PART).unwrap_or(usize::MAX).max(least),
        budget if budget < least => {
            let text = format!(
                "{budget} is too small; set it to 0 or to at least {least}, which is the larger of \
                 {MESSAGES_MIN} x (--max-request-bytes + {MESSAGE_OVERHEAD}) and {BYTES_MIN}"
            );
            reader.problem(FLAG, text);
            least
        }
        budget => budget,
    }
}

/// Bytes of memory that this process may use: the lowest of the limits of its control groups and
/// the machine's memory. 0 means unknown.
fn memory(root: &Path) -> u64 {
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let limits = groups.lines().filter_map(|group| {
        let mut fields = group.splitn(3, ':').skip(1);
        let controllers = fields.next()?;
        let path = fields.next()?;
        let (mounts, file): (&[&str], _) = match controllers {
            "" => (&["sys/fs/cgroup", "sys/fs/cgroup/unified"], "memory.max"),
            _ if controllers.split(',').any(|controller| controller == "memory") => {
                (&["sys/fs/cgroup/memory"], "memory.limit_in_bytes")
            }
            _ => return None,
        };
        mounts.iter().filter_map(|mount| limit(&root.join(mount), path, file)).min()
    });
    limits.chain(machine(root)).min().unwrap_or(0)
}

/// The lowest limit of a control group and its ancestors. In a container, `path` can be the path on
/// the host, which does not exist here; the mount itself is then the container's group.
fn limit(mount: &Path, path: &str, file: &str) -> Option<u64> {
    let mut group = PathBuf::from(path.trim_start_matches('/'));
    let mut lowest = None;
    loop {
        // A group without a limit has "max" in cgroup v2, and in v1 a number above any machine's
        // memory.
        let text = fs::read_to_string(mount.join(&group).join(file)).unwrap_or_default();
        lowest = lowest.into_iter().chain(text.trim().parse::<u64>().ok()).min();
        if !group.pop() {
            return lowest;
        }
    }
}

/// The machine's memory in bytes.
fn machine(root: &Path) -> Option<u64> {
    let info = fs::read_to_string(root.join("proc/meminfo")).ok()?;
    let total = info.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = total.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A root directory with these files.
    fn system(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    fn found(files: &[(&str, &str)]) -> u64 {
        let machine = ("proc/meminfo", "MemFree: 1 kB\nMemTotal:       1024 kB\n");
        memory(system(&[&[machine], files].concat()).path())
    }

    #[test]
    fn the_lowest_limit_counts() {
        assert_eq!(found(&[]), 1 << 20);
        let two = ("proc/self/cgroup", "0::/a/b\n");
        assert_eq!(found(&[two, ("sys/fs/cgroup/a/b/memory.max", "max\n")]), 1 << 20);
        assert_eq!(found(&[two, ("sys/fs/cgroup/a/b/memory.max", "4096\n")]), 4096);
        let outer = ("sys/fs/cgroup/a/memory.max", "100\n");
        assert_eq!(found(&[two, outer, ("sys/fs/cgroup/a/b/memory.max", "4096\n")]), 100);
        assert_eq!(found(&[two, ("sys/fs/cgroup/memory.max", "300\n")]), 300);
    }

    #[test]
    fn cgroup_v1_is_read_too() {
        let one = ("proc/self/cgroup", "4:cpu,cpuacct:/c\n3:memory:/x/y\n0::/\n");
        let none = ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
        assert_eq!(found(&[one, none]), 1 << 20);
        let own = ("sys/fs/cgroup/memory/x/y/memory.limit_in_bytes", "5000\n");
        assert_eq!(found(&[one, none, own]), 5000);
    }

    #[test]
    fn unknown_memory_is_0() {
        assert_eq!(memory(system(&[]).path()), 0);
    }
}
