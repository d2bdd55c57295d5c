//! From clients and between members, Quorate accepts the certificates that etcd accepts, except
//! those that the table marks as stricter.
//!
//! A Go program (`tests/conformance/certificates`) makes a table of valid and invalid certificates.
//! It reports which of them Go's crypto/x509 accepts, and presents them to a server: as a client,
//! and as members that the server connects to.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod accepted;
mod bundles;
mod members;
mod revoked;
mod rotations;
mod visitor;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use quorate_test_support::program;
use quorate_test_support::require::{self, Need};
use quorate_test_support::server::Server;
use tempfile::TempDir;

/// Go's verdict on a certificate with its chain.
struct Case {
    name: String,
    /// Whether Go accepts it as a client's certificate, and as a server's.
    is_taken: [bool; 2],
    /// Whether Quorate deliberately refuses it, although etcd accepts it.
    is_stricter: bool,
}

/// The table, in its own folder.
struct Table {
    folder: TempDir,
    program: PathBuf,
    cases: Vec<Case>,
}

/// Starts the members of a new cluster. A member is ready once it has a leader that it can reach.
fn start_together(members: &mut [Server]) {
    let listed: Vec<String> =
        members.iter().map(|member| format!("{}={}", member.name(), member.peer_url())).collect();
    let listed = format!("--initial-cluster={}", listed.join(","));
    for member in &mut *members {
        member.set_initial_cluster(&[&listed]);
        member.spawn();
    }
    members.iter_mut().for_each(Server::wait_until_ready);
}

impl Table {
    /// Makes all certificates. `None`, reported as a skip, without Go.
    fn make(suite: &str) -> Option<Self> {
        if !require::met(suite, &[Need::Program("go")]) {
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("certificates");
        let built = Command::new("go")
            .args(["build", "-trimpath", "-o"])
            .args([program.as_os_str(), ".".as_ref()])
            .env("PATH", program::search_path())
            .env("CGO_ENABLED", "0")
            .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("certificates"))
            .status();
        assert!(built.unwrap().success());
        let mut table = Self { folder, program, cases: Vec::new() };
        table.cases =
            table.run(&["make", table.path("").to_str().unwrap()]).lines().map(case).collect();
        Some(table)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs the Go program and returns its output.
    fn run(&self, arguments: &[&str]) -> String {
        let output = Command::new(&self.program).args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Flags with which a server presents the certificate `shown` and requires one. The prefix is
    /// empty for the client port, and `peer-` for the peer port.
    fn flags(&self, prefix: &str, shown: &str) -> Vec<String> {
        let file =
            |flag: &str, name: &str| format!("--{prefix}{flag}-file={}", self.path(name).display());
        vec![
            file("cert", &format!("{shown}.crt")),
            file("key", &format!("{shown}.key")),
            file("trusted-ca", "trusted.pem"),
            format!("--{prefix}client-cert-auth"),
        ]
    }

    /// A server that requires a certificate on both ports, and does not check peers' addresses
    /// against the peers' certificates.
    fn server(&self, program: &Path) -> Server {
        let mut flags = self.flags("", "plain");
        flags.extend(self.flags("peer-", "plain"));
        flags.push("--peer-skip-client-san-verification".to_owned());
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        Server::new(program, &flags).with_tls().with_peer_tls()
    }

    /// Asserts that each case was accepted or refused as expected. `said` has one line per case.
    /// `side` is 0 if a client presented the certificates, 1 if servers did.
    fn assert_as_in_go(&self, what: &str, said: &str, side: usize, is_quorate: bool) {
        let mut differ = Vec::new();
        let mut lines = said.lines();
        for Case { name, is_taken, is_stricter } in &self.cases {
            let is_taken = is_taken[side] && !(*is_stricter && is_quorate);
            let expected = format!("{name}\t{}", if is_taken { "takes" } else { "refuses" });
            let found = lines.next().unwrap_or_default();
            if found != expected {
                differ.push(format!("{found} instead of: {expected}"));
            }
        }
        assert_eq!(lines.next(), None);
        let count = differ.len();
        let all = self.cases.len();
        assert!(differ.is_empty(), "{what}: {count} of {all} differ:\n{}", differ.join("\n"));
    }
}

fn case(line: &str) -> Case {
    let fields: Vec<&str> = line.split('\t').collect();
    let [name, client, server, rules] = fields[..] else { panic!("{line}") };
    let is_taken = [client, server].map(|word| word == "takes");
    Case { name: name.to_owned(), is_taken, is_stricter: rules == "stricter" }
}

/// Writes a file to the table's folder, and returns its path.
fn write(table: &Table, name: &str, parts: &[&[u8]]) -> String {
    fs::write(table.path(name), parts.concat()).unwrap();
    table.path(name).display().to_string()
}
