//! How much memory may be in flight.

use std::fs;
use std::path::{Path, PathBuf};

use super::reader::Reader;

const FLAG: &str = "memory-budget";
/// The part of the memory there is that may be in flight: the state in memory, the database's
/// cache and the log's end need room as well, and so does what the allocator has not given back.
const PART: u64 = 12;
/// Bytes of the smallest budget.
const BYTES_MIN: usize = 16 << 20;
/// Largest messages that the smallest budget has room for.
const MESSAGES_MIN: usize = 4;
/// Bytes that a message may have beyond the largest request.
const MESSAGE_OVERHEAD: usize = 512 << 10;

/// Reads the budget. The largest request has so many bytes.
pub(super) fn read(reader: &mut Reader<'_>, max_request_bytes: usize) -> usize {
    let least = max_request_bytes.saturating_add(MESSAGE_OVERHEAD).saturating_mul(MESSAGES_MIN);
    let least = least.max(BYTES_MIN);
    match reader.number::<usize>(FLAG, "a number of bytes") {
        0 => usize::try_from(memory(Path::new("/")) / PART).unwrap_or(usize::MAX).max(least),
        budget if budget < least => {
            let text = format!(
                "{budget} is too little; set it to at least {least}, which is \
                 {MESSAGES_MIN} x (--max-request-bytes + {MESSAGE_OVERHEAD}) and \
                 not less than {BYTES_MIN}, or to 0"
            );
            reader.problem(FLAG, text);
            least
        }
        budget => budget,
    }
}

/// Bytes of memory that this process may use: the lowest limit of the control groups that it is
/// in, or else what the machine has. 0 when the system tells neither.
fn memory(root: &Path) -> u64 {
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let limits = groups.lines().filter_map(|group| {
        let mut fields = group.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next()?, fields.next()?);
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

/// The lowest limit of a group and those around it. In a container, the path can be the one outside
/// and not exist here; then the mount itself is the container's group.
fn limit(mount: &Path, path: &str, file: &str) -> Option<u64> {
    let mut group = PathBuf::from(path.trim_start_matches('/'));
    let mut lowest = None;
    loop {
        // A group without a limit says "max", in the first version a number that no machine has.
        let text = fs::read_to_string(mount.join(&group).join(file)).unwrap_or_default();
        lowest = lowest.into_iter().chain(text.trim().parse::<u64>().ok()).min();
        if !group.pop() {
            return lowest;
        }
    }
}

/// The machine's memory.
fn machine(root: &Path) -> Option<u64> {
    let info = fs::read_to_string(root.join("proc/meminfo")).ok()?;
    let total = info.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = total.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A system with these files.
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
    fn groups_of_the_first_version_are_known_too() {
        let one = ("proc/self/cgroup", "4:cpu,cpuacct:/c\n3:memory:/x/y\n0::/\n");
        let none = ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
        assert_eq!(found(&[one, none]), 1 << 20);
        let own = ("sys/fs/cgroup/memory/x/y/memory.limit_in_bytes", "5000\n");
        assert_eq!(found(&[one, none, own]), 5000);
    }

    #[test]
    fn a_system_that_tells_nothing_has_nothing() {
        assert_eq!(memory(system(&[]).path()), 0);
    }
}
