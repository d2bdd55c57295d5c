//! The pages below `/debug`: the resources and the settings of the process.
//!
//! etcd serves the profiles and traces of Go's runtime and libraries there. This program has none;
//! `perf` and `gdb` show the same of a running process.

use std::fmt::Write as _;
use std::fs;

use http::{Method, StatusCode};
use rustix::process::{Resource, getrlimit};
use serde_json::{Value, json};

use super::{PLAIN, Page, Pages, method_not_allowed, page};

/// The path of the page with etcd's variables.
const VARIABLES: &str = "/debug/vars";
/// The start of the paths that `--enable-pprof` turns on.
const PROFILES: &str = "/debug/pprof";
/// etcd's pages of traces.
const TRACES: [&str; 2] = ["/debug/events", "/debug/requests"];

const NO_PROFILES: &str = "Quorate has no profiles of Go. Use `perf record` on the process, \
                           /metrics, and /debug/vars for the command line.\n";
const NO_TRACES: &str = "Quorate has no traces of Go's libraries. Its log has the slow requests: \
                         see --warning-unary-request-duration and --warning-apply-duration.\n";

/// The lines of `/proc/self/status` that the page shows.
const SHOWN: [&str; 6] =
    ["VmPeak:", "VmRSS:", "RssAnon:", "Threads:", "voluntary_ctxt_switches:", "FDSize:"];

/// Whether `path` is that of the variables, which need a login while authentication is on.
pub(crate) fn has_variables(path: &str) -> bool {
    path == VARIABLES
}

/// The lines of the kernel's description of this process.
fn process_status() -> String {
    fs::read_to_string("/proc/self/status").unwrap_or_default()
}

/// The size in the line `name` of [`process_status`], in bytes.
fn bytes(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib << 10)
}

impl Pages {
    /// Whether `path` has a page for debugging, or a text that replaces a page of etcd.
    pub(crate) fn has_debug(&self, path: &str) -> bool {
        let profile = path.strip_prefix(PROFILES);
        let is_profile = profile.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        TRACES.contains(&path) || is_profile && self.server.options().has_debug_page
    }

    /// Answers a request for a page that [`has_debug`](Self::has_debug) knows.
    pub(crate) fn debug(&self, method: &Method, path: &str) -> Page {
        match path.strip_prefix(PROFILES) {
            Some(_) if method != Method::GET => method_not_allowed("GET"),
            Some("" | "/") => self.usage(),
            Some(_) => page(StatusCode::NOT_FOUND, PLAIN, NO_PROFILES),
            None => page(StatusCode::NOT_FOUND, PLAIN, NO_TRACES),
        }
    }

    /// Answers a request for the variables. They are those of etcd that have a meaning here, under
    /// etcd's names, and the memory.
    pub(crate) fn variables(&self, method: &Method) -> Page {
        if method != Method::GET {
            return method_not_allowed("GET");
        }
        let budget = self.server.member().budget();
        let variables = json!({
            "cmdline": self.command_line(),
            "file_descriptor_limit": getrlimit(Resource::Nofile).current,
            "memory": {
                "residentBytes": bytes(&process_status(), "VmRSS:"),
                "budgetBytes": budget.limit(),
                "budgetUsedBytes": budget.used(),
            },
            "raft.status": self.raft_status(),
        });
        page(StatusCode::OK, "application/json; charset=utf-8", format!("{variables:#}\n"))
    }

    fn raft_status(&self) -> Value {
        let member = self.server.member();
        let (id, raft) = (member.identity().member_id, member.status_now());
        json!({
            "id": format!("{id:x}"),
            "term": raft.term,
            "commit": member.committed(),
            "lead": format!("{:x}", raft.leader.unwrap_or_default()),
            "raftState": if raft.leader == Some(id) { "StateLeader" } else { "StateFollower" },
            "applied": member.progress().applied(),
        })
    }

    /// A command line with all given settings from all sources; `(secret)` replaces each secret.
    fn command_line(&self) -> Vec<&str> {
        let settings = self.server.options().given_settings.iter().map(String::as_str);
        ["quorate"].into_iter().chain(settings).collect()
    }

    /// The page of the resources that the process uses.
    fn usage(&self) -> Page {
        let mut text = String::from(NO_PROFILES);
        text.push('\n');
        let status = process_status();
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
