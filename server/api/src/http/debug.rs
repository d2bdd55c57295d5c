//! The page `/debug/pprof/`, which `--enable-pprof` turns on: what the process uses.
//!
//! etcd serves the profiles of Go's runtime there. This program has none; `perf` and `gdb` show the
//! same of a running process.

use std::fmt::Write as _;
use std::fs;

use http::StatusCode;

use super::{PLAIN, Page, Pages, page};

/// The lines of `/proc/self/status` that the page shows.
const SHOWN: [&str; 6] =
    ["VmPeak:", "VmRSS:", "RssAnon:", "Threads:", "voluntary_ctxt_switches:", "FDSize:"];

impl Pages {
    /// The page of what the process uses.
    pub(super) fn debug(&self) -> Page {
        let mut text = String::from(
            "Quorate has no profiles of Go. Use `perf record` on the process, and /metrics.\n\n",
        );
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let is_shown = |line: &&str| SHOWN.iter().any(|shown| line.starts_with(shown));
        for line in status.lines().filter(is_shown) {
            text.push_str(line);
            text.push('\n');
        }
        let runtime = tokio::runtime::Handle::current();
        let metrics = runtime.metrics();
        let numbers = [
            ("Workers", metrics.num_workers()),
            ("Tasks", metrics.num_alive_tasks()),
            ("Queue of tasks", metrics.global_queue_depth()),
            ("Tasks of streams", self.server.tasks().len()),
        ];
        for (name, number) in numbers {
            // Writing to a string cannot fail.
            writeln!(text, "{name}:\t{number}").ok();
        }
        page(StatusCode::OK, PLAIN, text)
    }
}
