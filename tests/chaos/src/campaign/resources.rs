//! The resource usage of members, and its limits.

use std::fmt::{self, Display, Formatter};

use quorate_test_support::usage::{Usage, disk_bytes};

use super::Campaign;

/// Peak resident memory of a member, in bytes. With the memory budget for 2 GiB, the bounds of
/// `server/docs/memory.md` and `storage.md` add up to 630 MiB: 170 each for the budget and for
/// proposals, 128 for memtables, 80 for the caches of a database and its copy, 66 for the log's
/// entries and the program, 16 for collected events. The allocator adds to that. One attack alone
/// takes far less (`tests/bench`); a campaign combines them with writes, compactions and copies.
const MEMORY_MAX: u64 = 768 << 20;
/// Open descriptors of a member when no client is connected.
const DESCRIPTORS_MAX: usize = 320;
/// Threads of an overloaded member. In other environments, a member that catches up applies large
/// commands on blocking threads, briefly as many as its runtime has.
const THREADS_MAX: usize = 96;
const RUNTIME_THREADS_MAX: usize = 560;
/// Bytes of the log: twice the size that is kept behind the database, and two segments.
const LOG_BYTES_MAX: u64 = (2 * 128 + 2 * 64) << 20;
/// Bytes of the database file beyond twice the peak in use, and of a copy in progress beyond the
/// peak in use (`server/docs/disk.md`).
const DATABASE_SLACK: u64 = 64 << 20;

/// The peak resource usage of any member.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    usage: Usage,
    log_bytes: u64,
    /// Of the largest database file.
    database_bytes: u64,
    /// Of the other database files: a copy that becomes the database file, or a snapshot.
    copy_bytes: u64,
    /// The peak of the database bytes in use.
    in_use: u64,
}

impl Campaign {
    /// Measures all running members and checks the limits.
    ///
    /// # Panics
    /// When a member exceeds a limit.
    pub(super) fn measure_resources(&mut self) {
        let is_overloaded = !self.switches.is_empty();
        let threads_max = if is_overloaded { THREADS_MAX } else { RUNTIME_THREADS_MAX };
        for place in 0..self.size() {
            let member = &self.cluster.members[place];
            let Some(usage) = Usage::of(member.pid()) else { continue };
            let folder = member.data_dir().join("member");
            let database = disk_bytes(&folder.join("db"));
            let database_bytes = database.iter().copied().max().unwrap_or_default();
            let now = Resources {
                usage,
                log_bytes: disk_bytes(&folder.join("wal")).iter().sum(),
                database_bytes,
                copy_bytes: database.iter().sum::<u64>() - database_bytes,
                in_use: self.status(place).map_or(0, |status| {
                    let now = u64::try_from(status.db_size_in_use).expect("it is not negative");
                    now.max(self.resources.in_use)
                }),
            };
            let name = member.name();
            assert!(now.is_modest(threads_max), "{name} takes too much: {now}");
            self.resources.raise_to(now);
        }
    }
}

impl Resources {
    fn is_modest(&self, threads_max: usize) -> bool {
        self.usage.peak_memory <= MEMORY_MAX
            && self.usage.descriptors <= DESCRIPTORS_MAX
            && self.usage.threads <= threads_max
            && self.log_bytes <= LOG_BYTES_MAX
            && self.database_bytes <= 2 * self.in_use + DATABASE_SLACK
            && self.copy_bytes <= self.in_use + DATABASE_SLACK
    }

    fn raise_to(&mut self, other: Self) {
        let usage = &mut self.usage;
        usage.peak_memory = usage.peak_memory.max(other.usage.peak_memory);
        usage.descriptors = usage.descriptors.max(other.usage.descriptors);
        usage.threads = usage.threads.max(other.usage.threads);
        self.log_bytes = self.log_bytes.max(other.log_bytes);
        self.database_bytes = self.database_bytes.max(other.database_bytes);
        self.copy_bytes = self.copy_bytes.max(other.copy_bytes);
        self.in_use = self.in_use.max(other.in_use);
    }
}

impl Display for Resources {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Usage { peak_memory, descriptors, threads } = self.usage;
        write!(
            f,
            "at most {} MiB of memory, {descriptors} descriptors, {threads} threads, \
             {} MiB of log, {} MiB of database and {} MiB of copies with {} MiB in use",
            peak_memory >> 20,
            self.log_bytes >> 20,
            self.database_bytes >> 20,
            self.copy_bytes >> 20,
            self.in_use >> 20
        )
    }
}
