//! Metrics of the process that the prometheus crate's own collector lacks.

use std::fs;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Counter, Gauge};
use quorate_raft::float;
use rustix::process::{Resource, getrlimit};

/// File descriptors, address space and network traffic of the process, read at every scrape.
pub(crate) struct Process {
    used: Gauge,
    limit: Gauge,
    memory_max: Gauge,
    received: Counter,
    transmitted: Counter,
}

impl Process {
    pub(crate) fn new() -> prometheus::Result<Self> {
        Ok(Self {
            used: Gauge::new("os_fd_used", "File descriptors in use.")?,
            limit: Gauge::new("os_fd_limit", "File descriptors that may be in use.")?,
            memory_max: Gauge::new(
                "process_virtual_memory_max_bytes",
                "Virtual memory that the process may use in bytes.",
            )?,
            received: Counter::new(
                "process_network_receive_bytes_total",
                "Bytes that came over the network to the process's network namespace.",
            )?,
            transmitted: Counter::new(
                "process_network_transmit_bytes_total",
                "Bytes that went over the network from the process's network namespace.",
            )?,
        })
    }

    /// Reads the current values. A value that cannot be read keeps its last one.
    fn update(&self) {
        if let Ok(handles) = fs::read_dir("/proc/self/fd") {
            self.used.set(float(handles.count() as u64));
        }
        let limit = |resource| float(getrlimit(resource).current.unwrap_or(u64::MAX));
        self.limit.set(limit(Resource::Nofile));
        self.memory_max.set(limit(Resource::As));
        let netstat = fs::read_to_string("/proc/self/net/netstat").unwrap_or_default();
        for (counter, name) in [(&self.received, "InOctets"), (&self.transmitted, "OutOctets")] {
            if let Some(octets) = octets(&netstat, name) {
                counter.reset();
                counter.inc_by(float(octets));
            }
        }
    }

    fn parts(&self) -> [&dyn Collector; 5] {
        [&self.used, &self.limit, &self.memory_max, &self.received, &self.transmitted]
    }
}

impl Collector for Process {
    fn desc(&self) -> Vec<&Desc> {
        self.parts().into_iter().flat_map(Collector::desc).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.update();
        self.parts().into_iter().flat_map(Collector::collect).collect()
    }
}

/// The value of column `name` in the `IpExt` part of `/proc/self/net/netstat`, which has a line of
/// names and then a line of numbers.
fn octets(netstat: &str, name: &str) -> Option<u64> {
    let mut lines = netstat.lines().filter_map(|line| line.strip_prefix("IpExt:"));
    let names = lines.next()?;
    let numbers = lines.next()?;
    let mut columns = names.split_whitespace().zip(numbers.split_whitespace());
    columns.find(|(found, _)| *found == name)?.1.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_found_by_name() {
        let netstat = "TcpExt: A B\nTcpExt: 1 2\nIpExt: InMcast InOctets\nIpExt: 7 42\n";
        assert_eq!(octets(netstat, "InOctets"), Some(42));
        assert_eq!(octets(netstat, "OutOctets"), None);
        assert_eq!(octets("", "InOctets"), None);
    }
}
