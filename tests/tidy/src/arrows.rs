//! The allowed dependencies between crates, and the libraries that a crate must not depend on even
//! indirectly.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use cargo_metadata::Metadata;

/// The workspace crates that each crate and its tests may depend on. A new crate or dependency must
/// be added here: it is a decision.
const ARROWS: [(&str, &[&str]); 16] = [
    ("quorate-proto", &[]),
    ("quorate-core", &["quorate-proto", "quorate-test-script"]),
    ("quorate-storage", &["quorate-core", "quorate-proto"]),
    ("quorate-raft", &["quorate-core", "quorate-proto", "quorate-storage"]),
    ("quorate-api", &["quorate-core", "quorate-proto", "quorate-raft", "quorate-storage"]),
    (
        "quorate-node",
        &["quorate-api", "quorate-core", "quorate-proto", "quorate-raft", "quorate-storage"],
    ),
    ("quorate-crd", &[]),
    ("quorate-controller", &["quorate-crd", "quorate-proto", "quorate-test-support"]),
    ("quorate-test-script", &["quorate-proto"]),
    ("quorate-test-support", &["quorate-proto"]),
    ("quorate-test-tidy", &[]),
    ("quorate-test-bench", &["quorate-proto", "quorate-test-support"]),
    ("quorate-test-chaos", &["quorate-core", "quorate-proto", "quorate-test-support"]),
    ("quorate-test-charts", &["quorate-test-support"]),
    ("quorate-test-e2e", &["quorate-crd", "quorate-test-support"]),
    (
        "quorate-test-conformance",
        &["quorate-core", "quorate-proto", "quorate-test-script", "quorate-test-support"],
    ),
];

/// Libraries that some crates must not depend on, directly or indirectly.
const UNREACHABLE: [(&str, &[&str]); 3] = [
    ("quorate-core", &["tokio", "tonic", "openraft", "redb", "kube"]),
    ("quorate-storage", &["tokio", "tonic", "openraft", "kube"]),
    ("quorate-crd", &["tokio", "tonic", "hyper", "kube-client"]),
];

/// Libraries whose versions must be exact.
const PINNED: [&str; 2] = ["openraft", "redb"];

/// Dependencies that are not allowed, and required exact versions that are missing.
pub fn broken(metadata: &Metadata) -> Vec<String> {
    let mut broken = Vec::new();
    let ours: BTreeSet<&str> =
        metadata.workspace_packages().iter().map(|package| package.name.as_str()).collect();
    for package in metadata.workspace_packages() {
        let name = package.name.as_str();
        let Some((_, allowed)) = ARROWS.iter().find(|(from, _)| *from == name) else {
            broken.push(format!("{name}: a crate that tests/tidy does not know"));
            continue;
        };
        for dependency in &package.dependencies {
            let to = dependency.name.as_str();
            if ours.contains(to) && !allowed.contains(&to) {
                broken.push(format!("{name}: must not depend on {to}"));
            }
            if PINNED.contains(&to) && !dependency.req.to_string().starts_with('=') {
                broken.push(format!("{name}: {to} must have an exact version"));
            }
        }
    }
    for (name, forbidden) in UNREACHABLE {
        let root = metadata.workspace_root.as_std_path();
        for library in reached(root, name) {
            if forbidden.contains(&library.as_str()) {
                broken.push(format!("{name}: must not reach {library}"));
            }
        }
    }
    broken
}

/// The names of all packages that `name` depends on, directly or indirectly, without those of its
/// tests. The package is resolved alone, because the rest of the workspace may enable features for
/// it.
fn reached(root: &Path, name: &str) -> BTreeSet<String> {
    let tree = Command::new("cargo")
        .args(["tree", "--locked", "--edges", "normal", "--prefix", "none", "--format", "{p}"])
        .args(["--package", name])
        .current_dir(root)
        .output()
        .expect("cargo runs");
    assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
    let lines = String::from_utf8(tree.stdout).expect("names are UTF-8");
    lines.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
}
