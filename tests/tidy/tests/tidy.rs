//! The repository follows its rules, and each rule detects its violations.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};

use cargo_metadata::MetadataCommand;
use quorate_test_tidy::{Repository, arrows, broken};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().to_path_buf()
}

#[test]
fn the_repository_keeps_its_rules() {
    let broken = broken(&Repository::read(&root()));
    assert!(broken.is_empty(), "{} broken rules:\n{}", broken.len(), broken.join("\n"));
}

#[test]
fn dependencies_follow_the_arrows() {
    let metadata = MetadataCommand::new().current_dir(root()).no_deps().exec().unwrap();
    let broken = arrows::broken(&metadata);
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// Plants one error at a time, and expects a violation that starts with the given text.
#[test]
fn every_rule_finds_a_violation() {
    let long_function = format!("//! x\nfn f() {{\n{}}}\n", "    g();\n".repeat(70));
    let planted = [
        ("scripts/x.sh", "true\n".to_owned(), "scripts: does not belong"),
        ("server/core/src/stray.rs", "//! x\n".to_owned(), "server/core/src/stray.rs: no module"),
        ("proto/build.rs", "//! x\n".repeat(601), "proto/build.rs: 601 lines"),
        ("proto/build.rs", format!("//! {}\n", "x".repeat(97)), "proto/build.rs:1: 101 char"),
        ("proto/build.rs", long_function, "proto/build.rs: f has 72 lines"),
        ("proto/build.rs", "fn f() {}\n".to_owned(), "proto/build.rs: does not open"),
        ("proto/src/lib.rs", "//! x\n".to_owned(), "proto/src/lib.rs: does not forbid"),
        ("proto/build.rs", "//! x\nuse redb::A;\n".to_owned(), "proto/build.rs: names redb::"),
        ("proto/build.rs", ["//! TO", "DO\n"].concat(), "proto/build.rs:1: TO"),
        (
            "server/raft/src/ground/consensus.rs",
            "//! x\nuse super::request::RequestError;\n".to_owned(),
            "server/raft/src/ground/consensus.rs, server/raft/src/ground/request.rs: imports run",
        ),
        (
            "server/raft/src/ground/progress.rs",
            "//! x\nfn f() {\n    crate::read::g();\n}\n".to_owned(),
            "server/raft/src/ground/progress.rs: must not import server/raft/src/read.rs",
        ),
        (
            "server/raft/src/ground/progress.rs",
            "//! x\nuse std::time::{Duration, Instant};\n".to_owned(),
            "server/raft/src/ground/progress.rs: names std::time::Instant",
        ),
        (
            "server/core/src/mvcc/merge.rs",
            "//! x\n".to_owned(),
            "core/src/mvcc/merge.rs, core/src/mvcc/stack.rs: no circle",
        ),
        ("server/raft/src/attic.rs", "//! x\n".to_owned(), "server/raft/src/attic.rs: a room that"),
        ("README.md", ["# x\n/wo", "rk/x\n"].concat(), "README.md:2: names"),
        ("README.md", "# x\n\n# y\n".to_owned(), "README.md: 2 first-level"),
        ("README.md", "# x \n".to_owned(), "README.md:1: blanks"),
        (
            "server/ARCHITECTURE.md",
            "# x\n`core/src/nothing.rs`\n".to_owned(),
            "server/ARCHITECTURE.md:2: core/src/nothing.rs: no such file",
        ),
        (
            "server/ARCHITECTURE.md",
            "# x\n`core/src/store.rs::Store::nothing`\n".to_owned(),
            "server/ARCHITECTURE.md:2: core/src/store.rs::Store::nothing: no such name",
        ),
        (
            "server/COMPATIBILITY.md",
            "# x\n| `a` | same | | `tests/tidy/tests/tidy.rs::gone` |\n".to_owned(),
            "server/COMPATIBILITY.md:2: tests/tidy/tests/tidy.rs::gone: no such name",
        ),
        (
            "server/docs/x.md",
            "# x\n`core/attic`\n".to_owned(),
            "server/docs/x.md:2: core/attic: no",
        ),
        ("server/docs/x.md", "# x\n[y](../y.md)\n".to_owned(), "server/docs/x.md:2: ../y.md: no"),
        ("server/docs/x.md", "# x\n`y\n".to_owned(), "server/docs/x.md:2: a code span"),
    ];
    let good = Repository::read(&root());
    for (path, text, expected) in planted {
        let mut repository = good.clone();
        repository.files.insert(path.to_owned(), text);
        let found = broken(&repository);
        let seen = found.iter().any(|line| line.starts_with(expected));
        assert!(seen, "{expected:?} is not among {found:?}");
    }
}
