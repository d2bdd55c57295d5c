//! The data directory: its identity, its lock and its permissions.
//!
//! ```text
//!   <data-dir>/member/IDENTITY    the cluster and the member that the directory belongs to
//!   <data-dir>/member/LOCK        locked while a process uses the directory
//!   <data-dir>/member/wal/        the write-ahead log
//!   <data-dir>/member/db/         the database
//!   <data-dir>/member/snap/db     a marker: programs around etcd look for this file
//! ```
//!
//! `IDENTITY` also has the data format of the directory.
//!
//! Only the user may read `member` and everything in it. Every start removes permissions of other
//! users that were added since the last start, for instance by a kubelet that gives a volume to a
//! pod's group.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

use crate::format::{DATA_FORMAT, OtherFormat};
use crate::{db, sync, wal};

const TITLE: &str = "quorate data directory";
/// The content of the marker `snap/db`.
const MARKER: &str =
    "This is a data directory of Quorate. The data is in the database beside it.\n";

/// Why a data directory cannot be used. Each text names the directory and the fix.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// The system reported an error.
    #[error("cannot use the data directory {path}: {source}")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// Other users could read or replace the data.
    #[error(
        "the data directory {path} has permissions {mode:03o}, so that other users can {can} it, \
         and belongs to user {owner}, but this process runs as user {user}; run `chmod 700 {path}`"
    )]
    Permissions {
        /// The directory.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
        /// The access that the permissions give to other users.
        can: &'static str,
        /// User id of the directory's owner.
        owner: u32,
        /// User id of this process.
        user: u32,
    },
    /// Another process uses the directory.
    #[error("the data directory {path} is in use by another process")]
    Locked {
        /// The directory.
        path: PathBuf,
    },
    /// The directory is etcd's.
    #[error(
        "the data directory {path} was written by etcd; Quorate cannot read it in place: \
         set --data-dir to another directory"
    )]
    Etcd {
        /// The directory.
        path: PathBuf,
    },
    /// The directory has files of another program.
    #[error(
        "the data directory {path} has {what}, which is not Quorate's; \
         set --data-dir to another directory"
    )]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// The unknown file.
        what: String,
    },
    /// The directory has a database but no log.
    #[error(
        "the write-ahead log {path} is missing, but there is a database; restore the data \
         directory from a backup"
    )]
    LogMissing {
        /// Path of the missing log.
        path: PathBuf,
    },
    /// Another version of Quorate wrote the directory.
    #[error("cannot use the data directory {path}: {format}")]
    Format {
        /// The directory.
        path: PathBuf,
        /// Its format.
        format: OtherFormat,
    },
    /// The identity cannot be read.
    #[error("{path} is damaged ({what}); restore the data directory from a backup")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// A description of the damage.
        what: &'static str,
    },
}

/// The cluster and the member that a data directory belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Id of the cluster.
    pub cluster_id: u64,
    /// Id of the member.
    pub member_id: u64,
    /// Incarnation of the directory: see [`incarnation`].
    pub incarnation: u64,
}

/// Number of random low bits of an incarnation; its generation is in the bits above them.
const RANDOM_BITS: u32 = 48;

/// A value that differs between all data directories that a member ever had. The generation counts
/// how often the member became the only one by `--force-new-cluster`, which keeps its data. So a
/// member that knows only an earlier generation lags behind. In the same generation, a different
/// incarnation means different data.
pub fn incarnation(generation: u64, random: u64) -> u64 {
    // 0 means unknown.
    generation << RANDOM_BITS | (random >> (u64::BITS - RANDOM_BITS)).max(1)
}

/// The generation of an incarnation.
pub fn generation(incarnation: u64) -> u64 {
    incarnation >> RANDOM_BITS
}

/// Peer URLs of the founding members of a cluster, by member id.
pub type Founders = BTreeMap<u64, Vec<String>>;

/// A data directory that this process has locked.
#[derive(Debug)]
pub struct DataDir {
    member: PathBuf,
    identity: Option<Identity>,
    founders: Founders,
    /// The open file holds the lock.
    _lock: File,
}

impl DataDir {
    /// Opens and locks a data directory; makes it if it does not exist.
    ///
    /// # Errors
    /// The directory belongs to another process, program or user, it is damaged, or the system
    /// reported an error.
    pub fn open(path: &Path) -> Result<Self, DataDirError> {
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
        let lock_path = member.join("LOCK");
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let lock = options.open(&lock_path).map_err(io_error(&lock_path))?;
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                return Err(DataDirError::Locked { path: path.to_owned() });
            }
            Err(error) => return Err(io_error(&lock_path)(error.into())),
        }
        let (identity, founders) = read_identity(path, &member.join("IDENTITY"))?.unzip();
        let founders = founders.unwrap_or_default();
        let dir = Self { member, identity, founders, _lock: lock };
        if dir.identity.is_some() {
            dir.mark();
        }
        // A start makes the log before the database: see `Member::start`.
        if db::exists(&dir.db()) && !wal::exists(&dir.wal()) {
            return Err(DataDirError::LogMissing { path: dir.wal() });
        }
        Ok(dir)
    }

    /// The directory's identity; `None` before it was set.
    pub fn identity(&self) -> Option<Identity> {
        self.identity
    }

    /// The founding members of the cluster; empty if this member is not one of them.
    pub fn founders(&self) -> &Founders {
        &self.founders
    }

    /// Sets the identity durably. If the first start ends before it made the log, the next one
    /// reads the founders from here.
    ///
    /// # Errors
    /// The identity cannot be written. The directory keeps the identity that it had.
    pub fn set_identity(
        &mut self,
        identity: Identity,
        founders: Founders,
    ) -> Result<(), DataDirError> {
        let path = self.member.join("IDENTITY");
        write_identity(&self.member, &path, identity, &founders)
            .map_err(|source| DataDirError::Io { path, source })?;
        self.identity = Some(identity);
        self.founders = founders;
        self.mark();
        Ok(())
    }

    /// Makes the marker by which programs around etcd tell that a member has data. Nothing here
    /// needs it, so a failure is only logged.
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
    pub fn wal(&self) -> PathBuf {
        self.member.join("wal")
    }

    /// Directory of the database.
    pub fn db(&self) -> PathBuf {
        self.member.join("db")
    }
}

/// The permissions that a directory with `forbidden` permissions should have; `None` if it has none
/// of them.
///
/// # Errors
/// The directory has forbidden permissions and belongs to another user.
fn excess_permissions(
    path: &Path,
    forbidden: u32,
    can: &'static str,
) -> Result<Option<u32>, DataDirError> {
    let metadata = std::fs::metadata(path)
        .map_err(|source| DataDirError::Io { path: path.to_owned(), source })?;
    let mode = metadata.mode() & 0o7777;
    // In a sticky directory other users can add files, but cannot replace ours.
    let is_safe = forbidden == 0o002 && mode & 0o1000 != 0;
    if mode & forbidden == 0 || is_safe {
        return Ok(None);
    }
    let owner = metadata.uid();
    let user = rustix::process::geteuid().as_raw();
    if owner != user {
        let path = path.to_owned();
        return Err(DataDirError::Permissions { path, mode: mode & 0o777, can, owner, user });
    }
    Ok(Some(mode & !forbidden))
}

fn set_mode(path: &Path, mode: u32) -> Result<(), DataDirError> {
    tracing::info!(
        path = %path.display(),
        mode = format!("{mode:04o}"),
        "removed the permissions of other users"
    );
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
        .map_err(|source| DataDirError::Io { path: path.to_owned(), source })
}

/// Removes the permissions of other users from the user's files and directories below `dir`.
fn restrict(dir: &Path) -> Result<(), DataDirError> {
    let io_error = |source| DataDirError::Io { path: dir.to_owned(), source };
    for entry in std::fs::read_dir(dir).map_err(io_error)? {
        let entry = entry.map_err(io_error)?;
        // This does not follow symbolic links.
        let metadata = match entry.metadata() {
            Ok(metadata) => metadata,
            // Another process that uses the directory may have removed the file.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(io_error(error)),
        };
        let path = entry.path();
        let mode = metadata.mode() & 0o7777;
        let is_open = mode & 0o077 != 0 && !metadata.is_symlink();
        if is_open && metadata.uid() == rustix::process::geteuid().as_raw() {
            set_mode(&path, mode & !0o077)?;
        }
        if metadata.is_dir() {
            restrict(&path)?;
        }
    }
    Ok(())
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

fn write_identity(
    dir: &Path,
    path: &Path,
    identity: Identity,
    founders: &Founders,
) -> io::Result<()> {
    let Identity { cluster_id, member_id, incarnation } = identity;
    let mut text = format!(
        "{TITLE}\nformat {DATA_FORMAT}\ncluster {cluster_id:x}\nmember {member_id:x}\n\
         incarnation {incarnation:x}\n"
    );
    for (id, peer_urls) in founders {
        for url in peer_urls {
            text.push_str(&format!("founder {id:x} {url}\n"));
        }
    }
    let sealed = format!("{text}crc {:08x}\n", crc32c::crc32c(text.as_bytes()));
    let temporary = dir.join("IDENTITY.tmp");
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    file.write_all(sealed.as_bytes())?;
    sync::all(&file)?;
    std::fs::rename(&temporary, path)?;
    sync::dir(dir)
}

fn read_identity(dir: &Path, path: &Path) -> Result<Option<(Identity, Founders)>, DataDirError> {
    let damaged = |what| DataDirError::Damaged { path: path.to_owned(), what };
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(DataDirError::Io { path: path.to_owned(), source }),
    };
    let text = std::str::from_utf8(&bytes).map_err(|_| damaged("it is not text"))?;
    let (body, crc) = text.rsplit_once("crc ").ok_or_else(|| damaged("it has no checksum"))?;
    if u32::from_str_radix(crc.trim_end(), 16) != Ok(crc32c::crc32c(body.as_bytes())) {
        return Err(damaged("its checksum fails"));
    }
    let fields = |name: &'static str| {
        body.lines().filter_map(move |line| line.strip_prefix(name)?.strip_prefix(' '))
    };
    let field = |name| fields(name).next();
    let format = field("format").and_then(|format| format.parse().ok());
    let format = format.ok_or_else(|| damaged("it has no data format"))?;
    OtherFormat::check(format)
        .map_err(|format| DataDirError::Format { path: dir.to_owned(), format })?;
    let number = |id| u64::from_str_radix(id, 16).ok();
    let mut founders = Founders::new();
    for founder in fields("founder") {
        let parts = founder.split_once(' ');
        let (id, url) = parts
            .and_then(|(id, url)| Some((number(id)?, url)))
            .ok_or_else(|| damaged("a founder has no id or no URL"))?;
        founders.entry(id).or_default().push(url.to_owned());
    }
    let id = |name| field(name).and_then(number);
    match (id("cluster"), id("member"), id("incarnation")) {
        (Some(cluster_id), Some(member_id), Some(incarnation)) => {
            Ok(Some((Identity { cluster_id, member_id, incarnation }, founders)))
        }
        _ => Err(damaged("an id is missing")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::AUTH_FORMAT;

    fn set_mode(path: &Path, mode: u32) {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn is_private_locked_and_known_again() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("a/b");
        let mut dir = DataDir::open(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(dir.identity(), None);
        let identity = Identity { cluster_id: u64::MAX, member_id: 1, incarnation: 5 };
        let founders: Founders =
            [(1, vec!["http://a:1".to_owned(), "http://b:1".to_owned()])].into();
        dir.set_identity(identity, founders.clone()).unwrap();
        assert!(matches!(DataDir::open(&path), Err(DataDirError::Locked { .. })));
        drop(dir);
        let dir = DataDir::open(&path).unwrap();
        assert_eq!((dir.identity(), dir.founders()), (Some(identity), &founders));
    }

    #[test]
    fn has_the_marker_of_a_member_with_data() {
        let home = tempfile::tempdir().unwrap();
        let marker = home.path().join("member/snap/db");
        let mut dir = DataDir::open(home.path()).unwrap();
        assert!(!marker.exists(), "it has no data yet");
        let identity = Identity { cluster_id: 7, member_id: 8, incarnation: 9 };
        dir.set_identity(identity, Founders::new()).unwrap();
        assert!(marker.exists());
        drop(dir);
        // An earlier version made none.
        std::fs::remove_dir_all(home.path().join("member/snap")).unwrap();
        drop(DataDir::open(home.path()).unwrap());
        assert!(marker.exists());
        // Without the identity, it is still no directory of etcd.
        std::fs::remove_file(home.path().join("member/IDENTITY")).unwrap();
        let refused = DataDir::open(home.path());
        assert!(matches!(refused, Err(DataDirError::Foreign { .. })), "{refused:?}");
    }

    #[test]
    fn permissions_of_other_users_are_removed() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("data");
        drop(DataDir::open(&path).unwrap());
        let mode = |path: &Path| std::fs::metadata(path).unwrap().mode() & 0o777;
        for (target, opened, closed) in [
            ("data", 0o777, 0o775),
            ("data/member", 0o755, 0o700),
            ("data/member", 0o770, 0o700),
            ("data/member/LOCK", 0o660, 0o600),
        ] {
            let target = home.path().join(target);
            set_mode(&target, opened);
            DataDir::open(&path).unwrap();
            assert_eq!(mode(&target), closed, "{}", target.display());
        }
        // The directory itself may be readable, because `member` in it is private.
        set_mode(&path, 0o755);
        DataDir::open(&path).unwrap();
        assert_eq!(mode(&path), 0o755);
    }

    #[test]
    fn directories_of_other_programs_are_refused() {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(home.path().join("etcd/member/snap")).unwrap();
        let found = DataDir::open(&home.path().join("etcd"));
        assert!(matches!(found, Err(DataDirError::Etcd { .. })));
        std::fs::create_dir_all(home.path().join("other/member/data")).unwrap();
        let found = DataDir::open(&home.path().join("other"));
        assert!(matches!(found, Err(DataDirError::Foreign { .. })));
    }

    #[test]
    fn a_directory_of_another_format_is_refused() {
        let home = tempfile::tempdir().unwrap();
        drop(DataDir::open(home.path()).unwrap());
        let later = AUTH_FORMAT + 1;
        let body = format!("{TITLE}\nformat {later}\nunknown to this version\n");
        let sealed = format!("{body}crc {:08x}\n", crc32c::crc32c(body.as_bytes()));
        std::fs::write(home.path().join("member/IDENTITY"), sealed).unwrap();
        let refused = DataDir::open(home.path()).unwrap_err();
        assert!(matches!(refused, DataDirError::Format { .. }), "{refused:?}");
        let text = refused.to_string();
        for part in [format!("format {later},"), format!("formats up to {AUTH_FORMAT};")] {
            assert!(text.contains(&part) && text.contains("a later one"), "{text}");
        }
    }

    #[test]
    fn a_damaged_identity_is_refused() {
        let home = tempfile::tempdir().unwrap();
        let mut dir = DataDir::open(home.path()).unwrap();
        let identity = Identity { cluster_id: 7, member_id: 8, incarnation: 9 };
        dir.set_identity(identity, Founders::new()).unwrap();
        drop(dir);
        let path = home.path().join("member/IDENTITY");
        let good = std::fs::read(&path).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            std::fs::write(&path, &bad).unwrap();
            match DataDir::open(home.path()) {
                Err(DataDirError::Damaged { .. }) => {}
                // Only the line break after the checksum may change.
                other => assert_eq!(at, good.len() - 1, "byte {at}: {other:?}"),
            }
        }
    }
}
