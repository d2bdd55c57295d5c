//! The names that etcd has, from its definitions, its programs and its sources.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use prost::Message as _;
use prost_types::FileDescriptorSet;
use quorate_proto::FILE_DESCRIPTOR_SET;
use quorate_test_support::{program, repository};
use regex::Regex;

/// The RPCs, as `package.Service/Method`. `proto/tests/wire.rs` compares the definitions with
/// etcd's.
pub(crate) fn rpcs() -> BTreeSet<String> {
    let files = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap().file;
    let services = files.iter().flat_map(|file| {
        file.service
            .iter()
            .map(move |service| (format!("{}.{}", file.package(), service.name()), service))
    });
    let services: Vec<_> = services.collect();
    let rpcs = services.iter().flat_map(|(name, service)| {
        service.method.iter().map(move |method| format!("{name}/{}", method.name()))
    });
    rpcs.collect()
}

/// The first group of each match.
fn found(pattern: &str, text: &str) -> BTreeSet<String> {
    let pattern = Regex::new(pattern).unwrap();
    pattern.captures_iter(text).map(|found| found[1].to_owned()).collect()
}

fn output(program: &Path, words: &[&str]) -> String {
    let output = Command::new(program).args(words).output().unwrap();
    String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
}

/// The folder with the sources of a module of etcd, at the version that the programs are built
/// from.
fn sources(module: &str) -> PathBuf {
    let listed = Command::new("go")
        .args(["list", "-m", "-f", "{{.Dir}}", &format!("go.etcd.io/etcd/{module}")])
        .current_dir(repository().join("tests/support/peers"))
        .env("PATH", program::search_path())
        .output()
        .unwrap();
    assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
    PathBuf::from(String::from_utf8(listed.stdout).unwrap().trim())
}

/// The text of a Go file, or of all Go files of a folder but its tests.
fn text(path: &Path) -> String {
    if path.is_file() {
        return fs::read_to_string(path).unwrap();
    }
    let files = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
    let is_source = |file: &PathBuf| {
        let name = file.to_string_lossy();
        name.ends_with(".go") && !name.ends_with("_test.go")
    };
    files.filter(is_source).map(|file| fs::read_to_string(file).unwrap()).collect()
}

/// The flags of the help, and those that the sources define.
pub(crate) fn flags(etcd: &Path) -> BTreeSet<String> {
    let server = sources("server/v3");
    let mut flags = found(r"(?m)^\s+--([a-z][a-z0-9-]*)", &output(etcd, &["--help"]));
    let defined = r#"fs\.\w*Var\([^"]*?"([a-z][a-z0-9-]*)""#;
    for file in ["embed/config.go", "etcdmain/config.go"] {
        flags.extend(found(defined, &text(&server.join(file))));
    }
    flags
}

/// The commands that `etcd` has besides serving.
pub(crate) fn commands_of_etcd(etcd: &Path) -> BTreeSet<String> {
    let mut commands = BTreeSet::new();
    for name in found(r"(?m)^  etcd ([a-z][a-z-]*)$", &output(etcd, &["--help"])) {
        let below = subcommands(&output(etcd, &[&name, "--help"]));
        commands.extend(below.into_iter().map(|below| format!("{name} {below}")));
    }
    commands
}

/// The HTTP paths of the client, metrics and peer ports, with those of the JSON gateway.
pub(crate) fn paths() -> BTreeSet<String> {
    let server = sources("server/v3");
    let mut paths = BTreeSet::new();
    let folders = [
        "etcdserver/api/etcdhttp",
        "etcdserver/api/rafthttp/http.go",
        "lease/leasehttp",
        "embed/serve.go",
    ];
    for folder in folders {
        paths.extend(found(r#"[^+]"(/[a-z][a-z/]*)""#, &text(&server.join(folder))));
    }
    // The checks have pages of their own.
    let checks = found(r#"checkType\w+\s*=\s*"(\w+)""#, &text(&server.join(folders[0])));
    paths.extend(checks.into_iter().map(|check| format!("/{check}")));
    let profiles = text(&sources("pkg/v3").join("debugutil/pprof.go"));
    let profiles = found(r#"HTTPPrefixPProf\+"(/[a-z]*)""#, &profiles);
    paths.extend(profiles.into_iter().map(|path| format!("/debug/pprof{path}")));
    for gateway in [
        sources("api/v3").join("etcdserverpb/gw"),
        server.join("etcdserver/api/v3lock/v3lockpb/gw"),
        server.join("etcdserver/api/v3election/v3electionpb/gw"),
    ] {
        paths.extend(found(r#"WithHTTPPathPattern\("([^"]*)""#, &text(&gateway)));
    }
    paths
}

/// The metrics of a page.
pub(crate) fn metrics(page: &str) -> BTreeSet<String> {
    found(r"(?m)^# TYPE (\S+) ", page)
}

/// The commands of a tool and all their subcommands.
pub(crate) fn commands(tool: &Path) -> BTreeSet<String> {
    let mut commands = BTreeSet::new();
    for name in subcommands(&output(tool, &["--help"])) {
        // Without subcommands that are of interest here.
        let is_own = !["completion", "help", "options"].contains(&name.as_str());
        let below =
            if is_own { subcommands(&output(tool, &[&name, "--help"])) } else { BTreeSet::new() };
        if below.is_empty() {
            commands.insert(name);
        } else {
            commands.extend(below.into_iter().map(|below| format!("{name} {below}")));
        }
    }
    commands
}

/// The commands that a help text lists.
fn subcommands(help: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut is_list = false;
    for line in help.lines() {
        if line.is_empty() {
            is_list = false;
        } else if line.ends_with(" commands") || line == "Available Commands:" {
            is_list = true;
        } else if is_list {
            names.extend(line.split_whitespace().next().map(str::to_owned));
        }
    }
    names
}
