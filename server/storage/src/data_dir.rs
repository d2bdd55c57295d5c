//! The data directory: its identity, its lock and its permissions.
//!
//! ```text
//!   <data-dir>/member/IDENTITY    the cluster and the member that the directory belongs to
//!   <data-dir>/member/LOCK        locked while a process uses the directory
//!   <data-dir>/member/wal/        the write-ahead log, unless it has a directory of its own
//!   <data-dir>/member/db/         the database
//!   <data-dir>/member/snap/db     a marker: tools that run etcd look for this file
//! ```
//!
//! `IDENTITY` also has the data format of the directory, and the path of the log if the log has a
//! directory of its own: see `log_dir`.
//!
//! Only the user of the process may read `member` and everything in it. Every start removes
//! permissions of other users that were added since the last start, for instance by a kubelet that
//! gives a volume to a pod's group.

mod error;
mod identity;
mod lock;
mod log_dir;
mod permissions;

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::{db, sync};
pub use error::DataDirError;
use identity::IdentityFile;
pub use identity::{Founders, Identity, generation, incarnation};
use log_dir::LogDir;
use permissions::{excess_permissions, restrict, set_mode};

/// The content of the marker `snap/db`.
const MARKER: &str =
    "This is a data directory of Quorate. The data is in the database beside it.\n";

/// A data directory that this process has locked.
#[derive(Debug)]
pub struct DataDir {
    member: PathBuf,
    identity: Option<Identity>,
    founders: Founders,
    log: LogDir,
    /// The open file holds the lock.
    _lock: File,
}

impl DataDir {
    /// Opens and locks a data directory; makes it if it does not exist. The log is in `wal_dir` if
    /// that is given.
    ///
    /// # Errors
    /// The directory or the log belongs to another process, program or user, it is damaged, the
    /// log is in another directory, or the system reported an error.
    pub fn open(path: &Path, wal_dir: Option<&Path>) -> Result<Self, DataDirError> {
        let member = path.join("member");
        let io_error = |path: &Path| {
            let path = path.to_owned();
            move |source| DataDirError::Io { path, source }
        };
        sync::create_dir(path).map_err(io_error(path))?;
        let opened = excess_permissions(path, 0o002, "change")?;
        refuse_foreign(path, &member)?;
        if let Some(mode) = opened {
            set_mode(path, mode)?;
        }
        sync::create_dir(&member).map_err(io_error(&member))?;
        if let Some(mode) = excess_permissions(&member, 0o077, "read")? {
            set_mode(&member, mode)?;
        }
        restrict(&member)?;
        let lock = lock::lock(&member)?;
        let lock = lock.ok_or_else(|| DataDirError::Locked { path: path.to_owned() })?;
        let mut file = IdentityFile::read(path, &member)?;
        let has_database = db::exists(&member.join("db"));
        let log = LogDir::open(&member, wal_dir, has_database, file.as_ref())?;
        if let Some(file) = &mut file {
            log.claim(file.identity)?;
            if file.log.as_deref() != log.outside() {
                file.log = log.outside().map(Path::to_owned);
                file.write(&member)?;
            }
        }
        let (identity, founders) = file.map(|file| (file.identity, file.founders)).unzip();
        let founders = founders.unwrap_or_default();
        let dir = Self { member, identity, founders, log, _lock: lock };
        if dir.identity.is_some() {
            dir.mark();
        }
        Ok(dir)
    }

    /// The directory's identity; `None` until it is set.
    pub fn identity(&self) -> Option<Identity> {
        self.identity
    }

    /// The founding members of the cluster; empty if this member is not one of them.
    pub fn founders(&self) -> &Founders {
        &self.founders
    }

    /// Sets the identity durably. If the first start ends before it has made the log, the next
    /// start reads the founders from here.
    ///
    /// # Errors
    /// The identity cannot be written. The directory then has the earlier identity or the new one.
    pub fn set_identity(
        &mut self,
        identity: Identity,
        founders: Founders,
    ) -> Result<(), DataDirError> {
        let log = self.log.outside().map(Path::to_owned);
        IdentityFile { identity, founders: founders.clone(), log }.write(&self.member)?;
        self.log.claim(identity)?;
        self.identity = Some(identity);
        self.founders = founders;
        self.mark();
        Ok(())
    }

    /// Makes the marker that tools look for when they check whether a member of etcd has data.
    /// Quorate does not need it, so a failure is only logged.
    fn mark(&self) {
        let folder = self.member.join("snap");
        let path = folder.join("db");
        if path.exists() {
            return;
        }
        let made = sync::create_dir(&folder).and_then(|()| {
            let mut options = OpenOptions::new();
            let mut file = options.write(true).create_new(true).mode(0o600).open(&path)?;
            file.write_all(MARKER.as_bytes())?;
            sync::all(&file)
        });
        if let Err(error) = made {
            tracing::warn!(%error, path = %path.display(), "cannot make a marker");
        }
    }

    /// Directory of the log.
    pub fn wal(&self) -> &Path {
        self.log.path()
    }

    /// Directory of the database.
    pub fn db(&self) -> PathBuf {
        self.member.join("db")
    }
}

/// Refuses a directory that has data of another program.
fn refuse_foreign(path: &Path, member: &Path) -> Result<(), DataDirError> {
    if member.join("IDENTITY").exists() {
        return Ok(());
    }
    let io_error = |source| DataDirError::Io { path: member.to_owned(), source };
    let is_ours = std::fs::read(member.join("snap/db")).is_ok_and(|text| text == MARKER.as_bytes());
    if member.join("snap").exists() && !is_ours {
        return Err(DataDirError::Etcd { path: path.to_owned() });
    }
    let listing = match std::fs::read_dir(member) {
        Ok(listing) => listing,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(io_error(error)),
    };
    for entry in listing {
        let name = entry.map_err(io_error)?.file_name();
        let ours = name == "LOCK" || name == "IDENTITY.tmp";
        if !ours {
            let what = format!("member/{}", name.to_string_lossy());
            return Err(DataDirError::Foreign { path: path.to_owned(), what });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use super::identity::TITLE;
    use super::*;
    use crate::format::AUTH_FORMAT;

    fn set_mode(path: &Path, mode: u32) {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn is_private_locked_and_known_again() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("a/b");
        let mut dir = DataDir::open(&path, None).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(dir.identity(), None);
        let identity = Identity { cluster_id: u64::MAX, member_id: 1, incarnation: 5 };
        let founders: Founders =
            [(1, vec!["http://a:1".to_owned(), "http://b:1".to_owned()])].into();
        dir.set_identity(identity, founders.clone()).unwrap();
        assert!(matches!(DataDir::open(&path, None), Err(DataDirError::Locked { .. })));
        drop(dir);
        let dir = DataDir::open(&path, None).unwrap();
        assert_eq!((dir.identity(), dir.founders()), (Some(identity), &founders));
    }

    #[test]
    fn has_the_marker_of_a_member_with_data() {
        let home = tempfile::tempdir().unwrap();
        let marker = home.path().join("member/snap/db");
        let mut dir = DataDir::open(home.path(), None).unwrap();
        assert!(!marker.exists(), "it has no data yet");
        let identity = Identity { cluster_id: 7, member_id: 8, incarnation: 9 };
        dir.set_identity(identity, Founders::new()).unwrap();
        assert!(marker.exists());
        drop(dir);
        // An earlier version made no marker.
        std::fs::remove_dir_all(home.path().join("member/snap")).unwrap();
        drop(DataDir::open(home.path(), None).unwrap());
        assert!(marker.exists());
        // Without the identity, the directory is still not taken for etcd's.
        std::fs::remove_file(home.path().join("member/IDENTITY")).unwrap();
        let refused = DataDir::open(home.path(), None);
        assert!(matches!(refused, Err(DataDirError::Foreign { .. })), "{refused:?}");
    }

    #[test]
    fn permissions_of_other_users_are_removed() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("data");
        drop(DataDir::open(&path, None).unwrap());
        let mode = |path: &Path| std::fs::metadata(path).unwrap().mode() & 0o777;
        for (target, opened, closed) in [
            ("data", 0o777, 0o775),
            ("data/member", 0o755, 0o700),
            ("data/member", 0o770, 0o700),
            ("data/member/LOCK", 0o660, 0o600),
        ] {
            let target = home.path().join(target);
            set_mode(&target, opened);
            DataDir::open(&path, None).unwrap();
            assert_eq!(mode(&target), closed, "{}", target.display());
        }
        // The directory itself may be readable, because `member` in it is private.
        set_mode(&path, 0o755);
        DataDir::open(&path, None).unwrap();
        assert_eq!(mode(&path), 0o755);
    }

    #[test]
    fn directories_of_other_programs_are_refused() {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(home.path().join("etcd/member/snap")).unwrap();
        let found = DataDir::open(&home.path().join("etcd"), None);
        assert!(matches!(found, Err(DataDirError::Etcd { .. })));
        std::fs::create_dir_all(home.path().join("other/member/data")).unwrap();
        let found = DataDir::open(&home.path().join("other"), None);
        assert!(matches!(found, Err(DataDirError::Foreign { .. })));
    }

    #[test]
    fn a_directory_of_another_format_is_refused() {
        let home = tempfile::tempdir().unwrap();
        drop(DataDir::open(home.path(), None).unwrap());
        let later = AUTH_FORMAT + 1;
        let body = format!("{TITLE}\nformat {later}\nunknown to this version\n");
        let sealed = format!("{body}crc {:08x}\n", crc32c::crc32c(body.as_bytes()));
        std::fs::write(home.path().join("member/IDENTITY"), sealed).unwrap();
        let refused = DataDir::open(home.path(), None).unwrap_err();
        assert!(matches!(refused, DataDirError::Format { .. }), "{refused:?}");
        let text = refused.to_string();
        for part in [format!("format {later},"), format!("formats up to {AUTH_FORMAT};")] {
            assert!(text.contains(&part) && text.contains("a later one"), "{text}");
        }
    }

    #[test]
    fn a_damaged_identity_is_refused() {
        let home = tempfile::tempdir().unwrap();
        let mut dir = DataDir::open(home.path(), None).unwrap();
        let identity = Identity { cluster_id: 7, member_id: 8, incarnation: 9 };
        dir.set_identity(identity, Founders::new()).unwrap();
        drop(dir);
        let path = home.path().join("member/IDENTITY");
        let good = std::fs::read(&path).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            std::fs::write(&path, &bad).unwrap();
            match DataDir::open(home.path(), None) {
                Err(DataDirError::Damaged { .. }) => {}
                // Only the line break after the checksum may change.
                other => assert_eq!(at, good.len() - 1, "byte {at}: {other:?}"),
            }
        }
    }
}
