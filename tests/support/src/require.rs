//! Skipping: reported loudly, and a failure when everything is required.
//!
//! A suite that needs more than Rust asks here first. Missing requirements are reported on standard
//! error even if the test runner captures output. With `QUORATE_REQUIRE=all` in the environment, as
//! in CI, they are a failure.

use std::env;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::repository;

/// A requirement of a suite on the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// A program on the `PATH`.
    Program(&'static str),
    /// Root, needed for mounts and network namespaces.
    Root,
    /// Loop devices with an ext4 file system on them.
    LoopDevices,
    /// IPv6's loopback address.
    Ipv6,
    /// A commit in the history of the repository.
    Commit(&'static str),
}

impl Need {
    fn is_met(self) -> bool {
        match self {
            Self::Program(name) => find(name).is_some(),
            Self::Root => rustix::process::geteuid().is_root(),
            Self::LoopDevices => {
                std::path::Path::new("/dev/loop-control").exists() && find("mkfs.ext4").is_some()
            }
            Self::Ipv6 => std::net::TcpListener::bind("[::1]:0").is_ok(),
            Self::Commit(commit) => is_known(commit),
        }
    }

    fn name(self) -> String {
        match self {
            Self::Program(name) => format!("`{name}`"),
            Self::Root => "root".to_owned(),
            Self::LoopDevices => "loop devices and mkfs.ext4".to_owned(),
            Self::Ipv6 => "IPv6".to_owned(),
            Self::Commit(commit) => {
                format!("commit {commit} in this repository (`git fetch --unshallow` gets it)")
            }
        }
    }
}

/// True if the machine meets all `needs`; if not, reports that `suite` is skipped, and why.
///
/// # Panics
/// If something is missing and `QUORATE_REQUIRE=all` is set. A commit that the checkout lacks is
/// the exception: a shallow clone or an exported tree has no history on any machine.
pub fn met(suite: &str, needs: &[Need]) -> bool {
    let missing: Vec<&Need> = needs.iter().filter(|need| !need.is_met()).collect();
    if missing.is_empty() {
        return true;
    }
    let is_excused = missing.iter().all(|need| matches!(need, Need::Commit(_)));
    let missing = missing.into_iter().map(|need| need.name()).collect::<Vec<_>>().join(", ");
    let is_required = everything() && !is_excused;
    assert!(!is_required, "QUORATE_REQUIRE=all, but {suite} cannot run: no {missing}");
    // Not `eprintln!`: the test runner captures its output and shows it only for failed tests.
    writeln!(io::stderr(), "SKIPPED: {suite}: this machine has no {missing}")
        .expect("standard error is open");
    false
}

/// Whether the repository has the commit.
fn is_known(commit: &str) -> bool {
    let asked = Command::new("git")
        .args(["cat-file", "-e", &format!("{commit}^{{commit}}")])
        .current_dir(repository())
        .stderr(Stdio::null())
        .status();
    asked.is_ok_and(|status| status.success())
}

/// Whether skipping is a failure.
pub fn everything() -> bool {
    env::var("QUORATE_REQUIRE").is_ok_and(|required| required == "all")
}

/// Where `name` is on the `PATH` or in the folders of system programs.
pub fn find(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/sbin", "/usr/local/go/bin"].map(PathBuf::from);
    env::split_paths(&path).chain(system).map(|dir| dir.join(name)).find(|file| file.is_file())
}
