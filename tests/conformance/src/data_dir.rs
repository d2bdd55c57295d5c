//! Data directories: copying and comparing them, and starts that must refuse them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use quorate_test_support::server::Server;

/// A directory's content: each path with its mode and, for a file, its bytes.
pub type Tree = BTreeMap<PathBuf, (u32, Option<Vec<u8>>)>;

/// The whole content of `path`.
///
/// # Panics
/// If it cannot be read.
pub fn tree(path: &Path) -> Tree {
    let mut tree = Tree::new();
    visit(path, &mut |entry| {
        let metadata = fs::symlink_metadata(entry).expect("it is there");
        let content = metadata.is_file().then(|| fs::read(entry).expect("it can be read"));
        tree.insert(entry.to_path_buf(), (metadata.mode(), content));
    });
    tree
}

/// Copies a directory recursively, with permissions.
///
/// # Panics
/// If it cannot be read or written.
pub fn copy(from: &Path, to: &Path) {
    visit(from, &mut |entry| {
        let copied = to.join(entry.strip_prefix(from).expect("it lies below"));
        if entry.is_dir() {
            fs::create_dir_all(&copied).expect("it can be made");
        } else {
            fs::copy(entry, &copied).expect("it can be copied");
        }
        let permissions = fs::metadata(entry).expect("it is there").permissions();
        fs::set_permissions(&copied, permissions).expect("it is ours");
    });
}

fn visit(path: &Path, found: &mut dyn FnMut(&Path)) {
    found(path);
    if path.is_dir() {
        for entry in fs::read_dir(path).expect("it can be read") {
            visit(&entry.expect("it can be read").path(), found);
        }
    }
}

/// The files of `directory` with this extension, sorted by name.
///
/// # Panics
/// If the directory cannot be read.
pub fn files(directory: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).expect("it can be read");
    let paths = entries.map(|entry| entry.expect("it can be read").path());
    let mut files: Vec<PathBuf> =
        paths.filter(|path| path.extension().is_some_and(|e| e == extension)).collect();
    files.sort();
    files
}

/// The exit statuses of the reasons that the last line of a log can have.
pub const EXIT_STATUSES: [(&str, i32); 5] =
    [("removed", 10), ("other-data", 11), ("damaged", 12), ("disk-full", 13), ("newer-format", 14)];

/// The exit status that goes with the last line of a log.
pub fn exit_status(line: &str) -> i32 {
    let has = |reason: &str| line.contains(&format!("\"reason\":\"{reason}\""));
    EXIT_STATUSES.iter().find(|(reason, _)| has(reason)).map_or(1, |(_, status)| *status)
}

/// Starts a server that must refuse to start and leave its data directory unchanged; returns its
/// error line.
///
/// # Panics
/// If it starts, panics, does not log exactly one error line, or changes the directory.
pub fn start_refused(server: &mut Server) -> String {
    let data_dir = server.data_dir();
    let now = || match fs::symlink_metadata(&data_dir) {
        Ok(_) => tree(&data_dir),
        Err(_) => Tree::new(),
    };
    let before = now();
    server.clear_log();
    let end = server.start_or_end();
    let log = server.log();
    let end = end.unwrap_or_else(|| panic!("it has started:\n{log}"));
    let line = error_line(server);
    assert_eq!(end.code(), Some(exit_status(&line)), "{end}:\n{log}");
    let changed = differing(&before, &now());
    assert!(changed.is_empty(), "it has changed {changed:?}");
    line
}

/// The one log line that says why a server ended: the only one of neither level `info` nor `warn`.
///
/// # Panics
/// If there is none or more than one, or the server panicked.
pub fn error_line(server: &Server) -> String {
    assert_eq!(server.panic_line(), None);
    let log = server.log();
    let lines = log.lines().filter(|line| {
        let is_info = ["info", "warn"].iter().any(|l| line.contains(&format!("\"level\":\"{l}\"")));
        !is_info
    });
    let lines: Vec<&str> = lines.collect();
    assert_eq!(lines.len(), 1, "not one line:\n{log}");
    lines[0].to_owned()
}

/// The paths at which two trees differ.
fn differing(before: &Tree, after: &Tree) -> BTreeSet<PathBuf> {
    let paths = before.keys().chain(after.keys());
    paths.filter(|path| before.get(*path) != after.get(*path)).cloned().collect()
}
