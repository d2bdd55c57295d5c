//! Real Kubernetes on Quorate.
//!
//! The scripts in `kubernetes/` do the work and can be run by hand. This crate makes them part of
//! `cargo test`.

#![forbid(unsafe_code)]

pub mod audit;

use std::path::PathBuf;
use std::process::Command;

use quorate_test_support::require::{self, Need};
use quorate_test_support::{program, repository};

/// Runs a job of `kubernetes/main-job.sh` on `members` members of Quorate. All but the mode
/// `control-plane` have kubelets and pods, which needs root. `programs` returns further variables
/// of the script, and is called only if the job can run here. Logs are kept if it fails.
///
/// # Panics
/// If the job fails, or if it cannot run here and `QUORATE_REQUIRE=all` is set.
pub fn main_job<P>(mode: &str, members: usize, programs: P)
where
    P: FnOnce() -> Vec<(&'static str, PathBuf)>,
{
    let mut needs =
        ["go", "bash", "curl", "openssl", "python3", "setsid"].map(Need::Program).to_vec();
    if mode != "control-plane" {
        needs.extend(["gcc", "ip", "unshare", "apt-get"].map(Need::Program));
        needs.push(Need::Root);
    }
    match mode {
        "volumes" => needs.push(Need::LoopDevices),
        "operator" => {
            needs.extend([Need::LoopDevices, Need::Program("buildah"), Need::Program("jq")])
        }
        _ => {}
    }
    if !require::met(&format!("main job, {mode}"), &needs) {
        return;
    }
    // Not in the usual temporary folder: containerd needs a file system that can be an overlay's
    // lower layer. The script removes the folder after a success.
    let name = format!("quorate-{mode}-{members}-");
    let folder = tempfile::Builder::new().prefix(&name).tempdir_in("/var/tmp").expect("a folder");
    let folder = folder.keep();
    let status = Command::new("bash")
        .arg(repository().join("tests/e2e/kubernetes/main-job.sh"))
        .arg(mode)
        .arg(&folder)
        .env("STORE_BIN", program::quorate())
        .env("MEMBERS", members.to_string())
        .envs(programs())
        .env("PATH", program::search_path())
        .status()
        .expect("bash runs");
    assert!(status.success(), "the main job failed; logs in {}", folder.display());
}
