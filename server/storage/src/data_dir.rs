//! The data directory: whose it is, who uses it, who may read it.
//!
//! ```text
//!   <data-dir>/member/IDENTITY    what this directory is, and of which member of which cluster
//!   <data-dir>/member/LOCK        locked while a process uses the directory
//!   <data-dir>/member/wal/        the write-ahead log
//!   <data-dir>/member/db/         the database
//! ```
//!
//! `member` and everything in it belong to the user alone. Where somebody else has opened them
//! since, as a kubelet does that gives a volume to a pod's group, they are closed again.

use std::collections::BTreeMap;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

use crate::{base, sync, wal};

/// Version of the directory's layout.
const FORMAT: u32 = 1;
const TITLE: &str = "quorate data directory";

/// Why a data directory cannot be used. Each text names the directory and the way out.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// The system refuses.
    #[error("cannot use the data directory {path}: {source}")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Others could read or replace what is in it.
    #[error(
        "the data directory {path} has permissions {mode:03o}, so that other users can {can} it, \
         and belongs to user {owner}, not to user {user} who runs this; run `chmod 700 {path}`"
    )]
    Permissions {
        /// The directory.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
        /// What they allow.
        can: &'static str,
        /// Whose it is.
        owner: u32,
        /// Who runs this.
        user: u32,
    },
    /// Another process uses it.
    #[error("the data directory {path} is in use by another process")]
    Locked {
        /// The directory.
        path: PathBuf,
    },
    /// It was made by etcd.
    #[error(
        "the data directory {path} was written by etcd; Quorate cannot read it in place: \
         name another --data-dir"
    )]
    Etcd {
        /// The directory.
        path: PathBuf,
    },
    /// It holds something else.
    #[error(
        "the data directory {path} holds {what}, which is not Quorate's; name another --data-dir"
    )]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// What was found.
        what: String,
    },
    /// Only a part of it is left.
    #[error(
        "the write-ahead log is missing in {path}, though there is a database; restore the data \
         directory from a backup"
    )]
    LogMissing {
        /// Where the log should be.
        path: PathBuf,
    },
    /// The identity cannot be read.
    #[error("{path} is damaged ({what}); restore the data directory from a backup")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
}

/// Which member of which cluster a directory belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Id of the cluster.
    pub cluster_id: u64,
    /// Id of the member.
    pub member_id: u64,
    /// Which of the directories that ever were this member's it is: see [`incarnation`].
    pub incarnation: u64,
}

/// Bits of an incarnation that are random; its generation stands above them.
const RANDOM_BITS: u32 = 48;

/// What tells a data directory from others that the same member had. Its generation counts how
/// often the member began anew with the data that it had, as the only one: who knows an earlier
/// generation lags behind. In one generation, another incarnation is other data.
pub fn incarnation(generation: u64, random: u64) -> u64 {
    // Nobody is taken for unknown, which is 0.
    generation << RANDOM_BITS | (random >> (u64::BITS - RANDOM_BITS)).max(1)
}

/// The generation of an incarnation.
pub fn generation(incarnation: u64) -> u64 {
    incarnation >> RANDOM_BITS
}

/// The founders of a cluster by id, each with its peer URLs.
pub type Founders = BTreeMap<u64, Vec<String>>;

/// A data directory in use by this process.
#[derive(Debug)]
pub struct DataDir {
    member: PathBuf,
    identity: Option<Identity>,
    founders: Founders,
    /// The lock is held as long as the file is open.
    _lock: File,
}

impl DataDir {
    /// Takes a data directory into use; makes it if it does not exist.
    pub fn open(path: &Path) -> Result<Self, DataDirError> {
        let member = path.join("member");
        let io_error = |path: &Path| {
            let path = path.to_owned();
            move |source| DataDirError::Io { path, source }
        };
        create_private(path).map_err(io_error(path))?;
        let opened = opened_to_others(path, 0o002, "change")?;
        refuse_foreign(path, &member)?;
        if let Some(mode) = opened {
            set_mode(path, mode)?;
        }
        create_private(&member).map_err(io_error(&member))?;
        if let Some(mode) = opened_to_others(&member, 0o077, "read")? {
            set_mode(&member, mode)?;
        }
        close(&member)?;
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
        let (identity, founders) = read_identity(&member.join("IDENTITY"))?.unzip();
        let founders = founders.unwrap_or_default();
        let dir = Self { member, identity, founders, _lock: lock };
        // The log is made before the database: see `Member::start`.
        if base::exists(&dir.db()) && !wal::exists(&dir.wal()) {
            return Err(DataDirError::LogMissing { path: dir.wal() });
        }
        Ok(dir)
    }

    /// Whose directory it is; `None` for one that was never used.
    pub fn identity(&self) -> Option<Identity> {
        self.identity
    }

    /// The founders of the member's cluster, if it is one of them.
    pub fn founders(&self) -> &Founders {
        &self.founders
    }

    /// Marks the directory as this member's, durably. Should the first start be cut short before
    /// the log begins, the next one finds the founders here.
    pub fn set_identity(
        &mut self,
        identity: Identity,
        founders: Founders,
    ) -> Result<(), DataDirError> {
        let path = self.member.join("IDENTITY");
        write_identity(&self.member, &path, identity, &founders)
            .map_err(|source| DataDirError::Io { path, source })?;
        (self.identity, self.founders) = (Some(identity), founders);
        Ok(())
    }

    /// Where the log lies.
    pub fn wal(&self) -> PathBuf {
        self.member.join("wal")
    }

    /// Where the database lies.
    pub fn db(&self) -> PathBuf {
        self.member.join("db")
    }
}

/// Makes a directory, and those above it, for the user alone; leaves an existing one as it is.
pub(crate) fn create_private(path: &Path) -> io::Result<()> {
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => return Ok(()),
        Ok(_) => return Err(io::ErrorKind::NotADirectory.into()),
        Err(_) => {}
    }
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => sync::dir(parent),
        _ => sync::dir(Path::new(".")),
    }
}

/// The permissions that a directory must be given, when it has others that are forbidden.
///
/// # Errors
/// It has them and is somebody else's.
fn opened_to_others(
    path: &Path,
    forbidden: u32,
    can: &'static str,
) -> Result<Option<u32>, DataDirError> {
    let metadata = std::fs::metadata(path)
        .map_err(|source| DataDirError::Io { path: path.to_owned(), source })?;
    let mode = metadata.mode() & 0o7777;
    // A sticky directory lets others add files but not replace ours.
    let is_safe = forbidden == 0o002 && mode & 0o1000 != 0;
    if mode & forbidden == 0 || is_safe {
        return Ok(None);
    }
    let (owner, user) = (metadata.uid(), rustix::process::geteuid().as_raw());
    if owner != user {
        let (path, mode) = (path.to_owned(), mode & 0o777);
        return Err(DataDirError::Permissions { path, mode, can, owner, user });
    }
    Ok(Some(mode & !forbidden))
}

fn set_mode(path: &Path, mode: u32) -> Result<(), DataDirError> {
    tracing::info!(
        path = %path.display(),
        mode = format!("{mode:04o}"),
        "other users could use it: its permissions are set anew"
    );
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
        .map_err(|source| DataDirError::Io { path: path.to_owned(), source })
}

/// Takes from others what they may do with the user's files and directories below `dir`.
fn close(dir: &Path) -> Result<(), DataDirError> {
    let io_error = |source| DataDirError::Io { path: dir.to_owned(), source };
    for entry in std::fs::read_dir(dir).map_err(io_error)? {
        let entry = entry.map_err(io_error)?;
        // Of a link, the link itself.
        let metadata = match entry.metadata() {
            Ok(metadata) => metadata,
            // Another process that uses the directory may have removed it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(io_error(error)),
        };
        let (path, mode) = (entry.path(), metadata.mode() & 0o7777);
        let is_open = mode & 0o077 != 0 && !metadata.is_symlink();
        if is_open && metadata.uid() == rustix::process::geteuid().as_raw() {
            set_mode(&path, mode & !0o077)?;
        }
        if metadata.is_dir() {
            close(&path)?;
        }
    }
    Ok(())
}

/// Refuses a directory in which somebody else keeps data.
fn refuse_foreign(path: &Path, member: &Path) -> Result<(), DataDirError> {
    if member.join("IDENTITY").exists() {
        return Ok(());
    }
    let io_error = |source| DataDirError::Io { path: member.to_owned(), source };
    if member.join("snap").exists() {
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
        "{TITLE}\nformat {FORMAT}\ncluster {cluster_id:x}\nmember {member_id:x}\n\
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

fn read_identity(path: &Path) -> Result<Option<(Identity, Founders)>, DataDirError> {
    let damaged =
        |what: &str| DataDirError::Damaged { path: path.to_owned(), what: what.to_owned() };
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
    let format = field("format").and_then(|format| format.parse::<u32>().ok());
    if format != Some(FORMAT) {
        return Err(damaged("it was written by another version of Quorate"));
    }
    let number = |id| u64::from_str_radix(id, 16).ok();
    let mut founders = Founders::new();
    for founder in fields("founder") {
        let parts = founder.split_once(' ');
        let (id, url) = parts
            .and_then(|(id, url)| Some((number(id)?, url)))
            .ok_or_else(|| damaged("a founder is no id with a URL"))?;
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
    fn what_others_could_change_or_read_is_closed_again() {
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
        // What lies in `member` stays private whoever may look into the directory above it.
        set_mode(&path, 0o755);
        DataDir::open(&path).unwrap();
        assert_eq!(mode(&path), 0o755);
    }

    #[test]
    fn what_is_not_ours_is_left_alone() {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(home.path().join("etcd/member/snap")).unwrap();
        let found = DataDir::open(&home.path().join("etcd"));
        assert!(matches!(found, Err(DataDirError::Etcd { .. })));
        std::fs::create_dir_all(home.path().join("other/member/data")).unwrap();
        let found = DataDir::open(&home.path().join("other"));
        assert!(matches!(found, Err(DataDirError::Foreign { .. })));
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
                // The line break behind the checksum says nothing.
                other => assert_eq!(at, good.len() - 1, "byte {at}: {other:?}"),
            }
        }
    }
}
