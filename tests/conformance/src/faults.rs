//! Helpers of the suites about damaged and foreign data: directories, acknowledged writes, and
//! starts that must fail.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use prost::Message;
use quorate_proto::etcdserverpb as pb;
use quorate_test_support::server::Server;
use tokio::runtime::Runtime;

use crate::raw::{Answer, Connection};

/// Keys per page of a read.
const PAGE_KEYS: i64 = 64;

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
        match entry.is_dir() {
            true => fs::create_dir_all(&copied).expect("it can be made"),
            false => drop(fs::copy(entry, &copied).expect("it can be copied")),
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

/// Starts a server that must refuse to start and leave its data directory unchanged; returns its
/// error line.
///
/// # Panics
/// If it starts, panics, does not log exactly one error line, or changes the directory.
pub fn refused(server: &mut Server) -> String {
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
    let said = last_words(&log);
    assert_eq!(end.code(), Some(1), "{end}:\n{log}");
    let changed = differing(&before, &now());
    assert!(changed.is_empty(), "it has changed {changed:?}");
    said
}

/// The one log line that says why a server ended: the only one of neither level `info` nor `warn`.
///
/// # Panics
/// If there is none or more than one, or the server panicked.
pub fn last_words(log: &str) -> String {
    assert!(!log.contains("a fault of the program"), "it panicked:\n{log}");
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

/// Acknowledged writes: the keys and their values.
#[derive(Debug)]
pub struct Acknowledged {
    runtime: Runtime,
    keys: BTreeMap<String, Bytes>,
    /// The revision of the last write.
    revision: i64,
}

impl Default for Acknowledged {
    fn default() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime starts");
        Self { runtime, keys: BTreeMap::new(), revision: 0 }
    }
}

impl Acknowledged {
    /// Number of keys.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether no write was acknowledged.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Writes `count` new keys with values of `size` bytes, one after the other. Stops at the first
    /// write that is not acknowledged and returns its answer.
    pub fn write(&mut self, server: &Server, count: usize, size: usize) -> Option<Answer> {
        let address = server.address();
        self.runtime.block_on(async {
            let connection = Connection::open(&address).await;
            for _ in 0..count {
                let number = self.keys.len();
                // Consecutive values differ; they repeat after 251 keys.
                let seed = u8::try_from(number % 251).expect("it is below 251");
                let value: Bytes = (0..size).map(|at| seed ^ at.to_le_bytes()[0]).collect();
                let put = pb::PutRequest {
                    key: format!("key/{number:06}").into(),
                    value: value.clone(),
                    ..Default::default()
                };
                let message = put.encode_to_vec().into();
                let answer = connection.method("/etcdserverpb.KV/Put", &[message]).await;
                if answer.code.as_deref() != Some("0") {
                    return Some(answer);
                }
                let response = pb::PutResponse::decode(answer.messages()[0].clone());
                let header = response.expect("it is one").header;
                self.revision = header.expect("it has one").revision;
                self.keys.insert(format!("key/{number:06}"), value);
            }
            None
        })
    }

    /// Checks that `server` has all keys with their values: `None` if so, else what is wrong. Other
    /// keys, from unacknowledged writes, are ignored.
    pub fn missing(&self, server: &Server) -> Option<String> {
        let address = server.address();
        let mut has = BTreeMap::new();
        let mut next = vec![0];
        let revision = loop {
            let response = match self.page(&address, next) {
                Ok(response) => response,
                Err(said) => return Some(said),
            };
            for pair in &response.kvs {
                has.insert(pair.key.clone(), pair.value.clone());
            }
            match response.kvs.last() {
                Some(last) if response.more => next = [last.key.as_ref(), &[0]].concat(),
                _ => break response.header.expect("it has one").revision,
            }
        };
        if revision < self.revision {
            return Some(format!("revision {revision} after {} was given out", self.revision));
        }
        let lost = self.keys.iter().find(|(key, value)| has.get(key.as_bytes()) != Some(*value));
        lost.map(|(key, _)| format!("{key} is lost or changed; {} of {}", has.len(), self.len()))
    }
    /// A page of keys from `first` on, or an error text.
    fn page(&self, address: &str, first: Vec<u8>) -> Result<pb::RangeResponse, String> {
        let request = pb::RangeRequest {
            key: first.into(),
            range_end: "\0".into(),
            limit: PAGE_KEYS,
            ..Default::default()
        };
        let answer = self.runtime.block_on(async {
            let connection = Connection::try_open(address).await?;
            let request = [request.encode_to_vec().into()];
            std::io::Result::Ok(connection.method("/etcdserverpb.KV/Range", &request).await)
        });
        let answer = answer.map_err(|error| error.to_string())?;
        if answer.code.as_deref() != Some("0") {
            let Answer { code, message, reset, .. } = answer;
            return Err(format!("no answer: {code:?} {message} {reset:?}"));
        }
        Ok(pb::RangeResponse::decode(answer.messages()[0].clone()).expect("it is one"))
    }
}
