//! The programs under test, and other programs that the suites use.

use std::env;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use crate::repository;
use crate::require::{self, Need};

/// The release build of `quorate`; cargo builds it if it is missing or outdated. `$QUORATE_BIN`
/// names another program instead.
///
/// # Panics
/// If the build fails.
pub fn quorate() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let options = ["--package", "quorate-node", "--release"];
    BUILT.get_or_init(|| build("QUORATE_BIN", &options, "release", "quorate")).clone()
}

/// The build of `quorate-operator` that the test command makes anyway: it is fast enough, and a
/// release build takes minutes. `$QUORATE_OPERATOR_BIN` names another program instead.
///
/// # Panics
/// If the build fails.
pub fn operator() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let name = "quorate-operator";
    // With the tests, so that no dependency is built again with other features.
    let options = ["--workspace", "--tests", "--bin", name];
    BUILT.get_or_init(|| build("QUORATE_OPERATOR_BIN", &options, "debug", name)).clone()
}

/// A build of `quorate` with the planted faults of `quorate_core::planted`. `$QUORATE_PLANTED_BIN`
/// names another program instead.
///
/// # Panics
/// If the build fails.
pub fn planted() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let options = ["--package", "quorate-node", "--profile", "planted", "--features", "planted"];
    BUILT.get_or_init(|| build("QUORATE_PLANTED_BIN", &options, "planted", "quorate")).clone()
}

/// The server of an earlier commit of this repository, built little optimised. `None` if it cannot
/// be built here, which is reported as a skip.
///
/// # Panics
/// If the build fails, or if it cannot be built here and `QUORATE_REQUIRE=all` is set.
pub fn earlier(suite: &str, commit: &'static str) -> Option<PathBuf> {
    let needs = [Need::Program("bash"), Need::Program("git"), Need::Commit(commit)];
    if !require::met(suite, &needs) {
        return None;
    }
    run_script("tests/support/peers/earlier.sh", &[commit]);
    Some(cache().join("bin").join(format!("quorate-{commit}")))
}

/// The program named by `variable`, or else the one that cargo builds with these options as
/// `folder`/`name`.
fn build(variable: &str, options: &[&str], folder: &str, name: &str) -> PathBuf {
    if let Some(program) = env::var_os(variable) {
        return PathBuf::from(program);
    }
    let root = repository();
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["build", "--locked", "--quiet"])
        .args(options)
        .current_dir(&root)
        .status()
        .expect("cargo runs");
    assert!(status.success(), "{name} does not build");
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    root.join(target).join(folder).join(name)
}

/// The cache of third-party programs; see `tests/support/peers/cache.sh`.
pub fn cache() -> PathBuf {
    if let Some(cache) = env::var_os("QUORATE_TEST_CACHE") {
        return PathBuf::from(cache);
    }
    let home = || PathBuf::from(env::var_os("HOME").expect("HOME is set")).join(".cache");
    env::var_os("XDG_CACHE_HOME").map_or_else(home, PathBuf::from).join("quorate")
}

/// One of etcd 3.7's programs: `etcd-3.7`, `etcdctl`, `etcdutl`, `benchmark`. `None` if it cannot
/// be built here, which is reported as a skip.
///
/// # Panics
/// If the build fails, or if it cannot be built here and `QUORATE_REQUIRE=all` is set.
pub fn etcd(suite: &str, name: &str) -> Option<PathBuf> {
    static BUILT: OnceLock<()> = OnceLock::new();
    if !require::met(suite, &[Need::Program("go"), Need::Program("bash")]) {
        return None;
    }
    BUILT.get_or_init(|| run_script("tests/support/peers/build.sh", &[]));
    Some(cache().join("bin").join(name))
}

/// Runs a script of the repository and waits for it.
///
/// # Panics
/// If it fails.
pub fn run_script(script: &str, args: &[&str]) {
    let status = Command::new("bash")
        .arg(repository().join(script))
        .args(args)
        .env("PATH", search_path())
        .status()
        .expect("bash runs");
    assert!(status.success(), "{script} {args:?} failed: {status}");
}

/// `PATH` with the usual folders of Go and of system programs.
pub fn search_path() -> String {
    let path = env::var("PATH").unwrap_or_default();
    format!("{path}:/usr/local/go/bin:/usr/sbin:/sbin")
}
