//! The directory of the log, which can be on a disk of its own (`--wal-dir`).
//!
//! ```text
//!   <wal-dir>/LOCK     locked while a process uses the log; names the log's cluster and member
//!   <wal-dir>/*.wal    the segments of the log
//! ```
//!
//! A start never takes a missing log for an empty one: the member could then vote a second time in
//! a term, and would lack entries that it has acknowledged. `IDENTITY` has the path of a log that
//! is not in the data directory, so that a start without `--wal-dir`, or with another one, finds
//! that the log is elsewhere. A log can be moved: a start uses the log in the new directory if the
//! former directory has none any more.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::error::DataDirError;
use super::identity::{Identity, IdentityFile};
use super::lock;
use super::permissions::{excess_permissions, restrict, set_mode};
use crate::{sync, wal};

/// The directory of the log.
#[derive(Debug)]
pub(super) struct LogDir {
    path: PathBuf,
    /// The file that holds the lock; `None` if the log is in the data directory, which has a lock.
    lock: Option<File>,
}

impl LogDir {
    /// Finds the directory of the log: `given`, or the default in `member`. Makes and locks it if
    /// it is not in `member`. `file` is the identity of the data directory.
    ///
    /// # Errors
    /// The log is elsewhere, or is missing though there is a database, or the directory belongs to
    /// another member, user or process, or the system reported an error.
    pub(super) fn open(
        member: &Path,
        given: Option<&Path>,
        has_database: bool,
        file: Option<&IdentityFile>,
    ) -> Result<Self, DataDirError> {
        let inside = member.join("wal");
        let path = wanted(member, &inside, given)?;
        let recorded = file.and_then(|file| file.log.as_deref());
        if let Some(found) = recorded.filter(|recorded| is_log_beside(recorded, &path)) {
            let fix = format!("set --wal-dir={}", found.display());
            return Err(DataDirError::LogElsewhere { found: found.to_owned(), wanted: path, fix });
        }
        if is_log_beside(&inside, &path) {
            let fix = "start without --wal-dir".to_owned();
            return Err(DataDirError::LogElsewhere { found: inside, wanted: path, fix });
        }
        let is_outside = path != inside;
        let has_log = match wal::has_segments(&path) {
            Ok(has_log) => has_log,
            // The code that opens the log reports the error.
            Err(_) if !is_outside => true,
            Err(source) => return Err(DataDirError::Io { path, source }),
        };
        // A start makes the log before the database: see `Member::start`.
        if has_database && !has_log {
            return Err(missing(path, is_outside, recorded));
        }
        if !is_outside {
            return Ok(Self { path, lock: None });
        }
        let lock = open_outside(&path)?;
        let owner = file.map(|file| ids(file.identity));
        let names = named(&lock);
        if has_log && (owner.is_none() || (names.is_some() && names != owner)) {
            return Err(DataDirError::LogOfOther { path });
        }
        Ok(Self { path, lock: Some(lock) })
    }

    /// The directory.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The directory if it is not in the data directory.
    pub(super) fn outside(&self) -> Option<&Path> {
        self.lock.as_ref().map(|_| self.path.as_path())
    }

    /// Writes the ids of the member to a log outside of the data directory, durably.
    ///
    /// # Errors
    /// The system reported an error.
    pub(super) fn claim(&self, identity: Identity) -> Result<(), DataDirError> {
        let Some(lock) = self.lock.as_ref().filter(|lock| named(lock) != Some(ids(identity)))
        else {
            return Ok(());
        };
        let (cluster, member) = ids(identity);
        let text = format!("cluster {cluster:x}\nmember {member:x}\nend\n");
        let written = lock
            .set_len(0)
            .and_then(|()| lock.write_all_at(text.as_bytes(), 0))
            .and_then(|()| sync::all(lock))
            .and_then(|()| sync::dir(&self.path));
        written.map_err(|source| DataDirError::Io { path: self.path.join(lock::FILE), source })
    }
}

/// The directory that the log should be in.
fn wanted(member: &Path, inside: &Path, given: Option<&Path>) -> Result<PathBuf, DataDirError> {
    let Some(given) = given.filter(|given| !is_same(given, inside)) else {
        return Ok(inside.to_owned());
    };
    let absolute = |path: &Path| {
        let path = path.to_owned();
        std::path::absolute(&path).map_err(|source| DataDirError::Io { path, source })
    };
    let path = absolute(given)?;
    if path.starts_with(absolute(member)?) {
        return Err(DataDirError::LogInside { member: member.to_owned() });
    }
    Ok(path)
}

/// Whether two paths lead to the same directory.
fn is_same(one: &Path, other: &Path) -> bool {
    let absolute = [one, other].map(|path| std::path::absolute(path).ok());
    let real = [one, other].map(|path| std::fs::canonicalize(path).ok());
    [absolute, real].iter().any(|[one, other]| one.is_some() && one == other)
}

/// Whether `other` has a log and is not `path`. A directory that cannot be listed counts as one
/// with a log.
fn is_log_beside(other: &Path, path: &Path) -> bool {
    !is_same(other, path) && wal::has_segments(other).unwrap_or(true)
}

fn missing(path: PathBuf, is_outside: bool, recorded: Option<&Path>) -> DataDirError {
    if !is_outside && recorded.is_none() {
        return DataDirError::LogMissing { path };
    }
    let former = recorded.filter(|recorded| !is_same(recorded, &path));
    let elsewhere = former.map_or_else(String::new, |former| {
        format!(" and not in {}, where it was", former.display())
    });
    DataDirError::LogNotFound { path, elsewhere }
}

/// Makes and locks a directory outside of the data directory, and makes it private.
fn open_outside(path: &Path) -> Result<File, DataDirError> {
    let io_error = |source| DataDirError::Io { path: path.to_owned(), source };
    sync::create_dir(path).map_err(io_error)?;
    if let Some(mode) = excess_permissions(path, 0o077, "read")? {
        set_mode(path, mode)?;
    }
    restrict(path)?;
    lock::lock(path)?.ok_or_else(|| DataDirError::LogLocked { path: path.to_owned() })
}

/// The ids by which a log outside of the data directory names its member. The incarnation is not
/// one of them: `--force-new-cluster` changes it.
fn ids(identity: Identity) -> (u64, u64) {
    (identity.cluster_id, identity.member_id)
}

/// The ids in a lock file; `None` if it has none yet.
fn named(lock: &File) -> Option<(u64, u64)> {
    const LENGTH_MAX: usize = 128;
    let mut bytes = [0; LENGTH_MAX];
    let length = read_at_start(lock, &mut bytes).ok()?;
    let text = std::str::from_utf8(&bytes[..length]).ok()?;
    let number =
        |line: Option<&str>, name: &str| u64::from_str_radix(line?.strip_prefix(name)?, 16).ok();
    let mut lines = text.lines();
    let ids = (number(lines.next(), "cluster ")?, number(lines.next(), "member ")?);
    // A crash may have cut the text off.
    (lines.next() == Some("end")).then_some(ids)
}

fn read_at_start(file: &File, bytes: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while length < bytes.len() {
        match file.read_at(&mut bytes[length..], length as u64)? {
            0 => break,
            read => length += read,
        }
    }
    Ok(length)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::super::identity::Founders;
    use super::*;

    const IDENTITY: Identity = Identity { cluster_id: 7, member_id: 8, incarnation: 9 };
    const OTHER: Identity = Identity { member_id: 10, ..IDENTITY };

    fn file(identity: Identity, log: Option<&Path>) -> IdentityFile {
        IdentityFile { identity, founders: Founders::new(), log: log.map(Path::to_owned) }
    }

    /// Folders for a member and its log.
    struct Home {
        folder: tempfile::TempDir,
        member: PathBuf,
    }

    impl Home {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let member = folder.path().join("data/member");
            std::fs::create_dir_all(&member).unwrap();
            Self { folder, member }
        }

        fn at(&self, name: &str) -> PathBuf {
            self.folder.path().join(name)
        }

        /// Opens the log of a member that has a database.
        fn open(
            &self,
            given: Option<&str>,
            recorded: Option<&str>,
        ) -> Result<LogDir, DataDirError> {
            let [given, recorded] = [given, recorded].map(|name| name.map(|name| self.at(name)));
            let file = file(IDENTITY, recorded.as_deref());
            LogDir::open(&self.member, given.as_deref(), true, Some(&file))
        }

        /// A directory that has a log, of `owner` if that is given.
        fn make_log(&self, name: &str, owner: Option<Identity>) {
            let dir = LogDir::open(&self.member, Some(&self.at(name)), false, None).unwrap();
            if let Some(owner) = owner {
                dir.claim(owner).unwrap();
            }
            std::fs::write(self.at(name).join("0000000000000001.wal"), "").unwrap();
        }
    }

    #[test]
    fn a_new_directory_is_private_and_locked() {
        let home = Home::new();
        let open = || LogDir::open(&home.member, Some(&home.at("a/b")), false, None);
        let dir = open().unwrap();
        assert_eq!((dir.path(), dir.outside()), (&*home.at("a/b"), Some(&*home.at("a/b"))));
        let mode = std::fs::metadata(home.at("a/b")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        assert!(matches!(open(), Err(DataDirError::LogLocked { .. })));
        drop(dir);
        open().unwrap();
    }

    #[test]
    fn a_log_elsewhere_is_refused() {
        let home = Home::new();
        home.make_log("a", Some(IDENTITY));
        assert_eq!(home.open(Some("a"), Some("a")).unwrap().outside(), Some(&*home.at("a")));
        for given in [None, Some("b")] {
            let refused = home.open(given, Some("a")).unwrap_err();
            let fix = format!("set --wal-dir={}", home.at("a").display());
            assert!(refused.to_string().contains(&fix), "{refused}");
        }
        std::fs::rename(home.at("a"), home.at("b")).unwrap();
        for given in [None, Some("a")] {
            let refused = home.open(given, Some("a")).unwrap_err();
            assert!(matches!(refused, DataDirError::LogNotFound { .. }), "{refused}");
        }
        assert_eq!(home.open(Some("b"), Some("a")).unwrap().outside(), Some(&*home.at("b")));
        std::fs::rename(home.at("b"), home.member.join("wal")).unwrap();
        for given in [None, Some("data/member/wal")] {
            assert_eq!(home.open(given, Some("b")).unwrap().outside(), None);
        }
        let refused = home.open(Some("b"), None).unwrap_err();
        assert!(refused.to_string().contains("start without --wal-dir"), "{refused}");
        let refused = home.open(Some("data/member/other"), None);
        assert!(matches!(refused, Err(DataDirError::LogInside { .. })), "{refused:?}");
    }

    #[test]
    fn a_log_of_something_else_is_refused() {
        let home = Home::new();
        home.make_log("a", Some(OTHER));
        let refused = home.open(Some("a"), None);
        assert!(matches!(refused, Err(DataDirError::LogOfOther { .. })), "{refused:?}");
        // A log that names no member was moved here from a data directory.
        home.make_log("b", None);
        home.open(Some("b"), None).unwrap().claim(IDENTITY).unwrap();
        home.open(Some("b"), None).unwrap();
        // A new data directory has no log.
        let refused = LogDir::open(&home.member, Some(&home.at("b")), false, None);
        assert!(matches!(refused, Err(DataDirError::LogOfOther { .. })), "{refused:?}");
        std::fs::create_dir(home.at("c")).unwrap();
        std::fs::write(home.at("c/thesis.txt"), "precious").unwrap();
        let refused = home.open(Some("c"), None);
        assert!(matches!(refused, Err(DataDirError::Io { .. })), "{refused:?}");
        assert_eq!(std::fs::read_dir(home.at("c")).unwrap().count(), 1);
    }

    #[test]
    fn names_that_are_cut_off_do_not_count() {
        let home = Home::new();
        home.make_log("a", Some(IDENTITY));
        let path = home.at("a").join(lock::FILE);
        let whole = std::fs::read(&path).unwrap();
        for length in 0..whole.len() - 1 {
            std::fs::write(&path, &whole[..length]).unwrap();
            assert_eq!(named(&File::open(&path).unwrap()), None, "{length}");
        }
        home.open(Some("a"), None).unwrap().claim(IDENTITY).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), whole);
    }
}
