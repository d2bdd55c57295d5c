//! The file `IDENTITY`: the cluster and the member that the directory belongs to, the founders of
//! the cluster, the data format, and the directory of the log if that is elsewhere.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::error::DataDirError;
use crate::format::{DATA_FORMAT, OtherFormat};
use crate::sync;

pub(super) const TITLE: &str = "quorate data directory";
const FILE: &str = "IDENTITY";

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

/// A number that no two data directories of a member have in common: a generation and random bits.
/// `--force-new-cluster` makes the member the only one of its cluster, keeps its data, and raises
/// the generation by one. So another member that knows only an earlier generation lags behind. Two
/// incarnations of the same generation mean different data.
pub fn incarnation(generation: u64, random: u64) -> u64 {
    // Never 0, which means unknown.
    generation << RANDOM_BITS | (random >> (u64::BITS - RANDOM_BITS)).max(1)
}

/// The generation of an incarnation.
pub fn generation(incarnation: u64) -> u64 {
    incarnation >> RANDOM_BITS
}

/// Peer URLs of the founding members of a cluster, by member id.
pub type Founders = BTreeMap<u64, Vec<String>>;

/// The content of `IDENTITY`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct IdentityFile {
    pub(super) identity: Identity,
    pub(super) founders: Founders,
    /// The directory of the log; `None` if it is in the data directory.
    pub(super) log: Option<PathBuf>,
}

impl IdentityFile {
    /// Writes the file durably. After an error, the folder has the earlier file or the new one.
    pub(super) fn write(&self, member: &Path) -> Result<(), DataDirError> {
        let path = member.join(FILE);
        self.try_write(member, &path).map_err(|source| DataDirError::Io { path, source })
    }

    fn try_write(&self, member: &Path, path: &Path) -> io::Result<()> {
        let Identity { cluster_id, member_id, incarnation } = self.identity;
        let mut text = format!(
            "{TITLE}\nformat {DATA_FORMAT}\ncluster {cluster_id:x}\nmember {member_id:x}\n\
             incarnation {incarnation:x}\n"
        );
        for (id, peer_urls) in &self.founders {
            for url in peer_urls {
                text.push_str(&format!("founder {id:x} {url}\n"));
            }
        }
        if let Some(log) = &self.log {
            let log = log.to_str().filter(|log| !log.contains('\n'));
            let log = log.ok_or_else(|| io::Error::other("--wal-dir must be one line of text"))?;
            text.push_str(&format!("log {log}\n"));
        }
        let sealed = format!("{text}crc {:08x}\n", crc32c::crc32c(text.as_bytes()));
        let temporary = member.join("IDENTITY.tmp");
        let mut options = OpenOptions::new();
        let options = options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(&temporary)?;
        file.write_all(sealed.as_bytes())?;
        sync::all(&file)?;
        std::fs::rename(&temporary, path)?;
        sync::dir(member)
    }

    /// Reads the file of the data directory `dir`; `None` if there is none.
    pub(super) fn read(dir: &Path, member: &Path) -> Result<Option<Self>, DataDirError> {
        let path = member.join(FILE);
        let damaged = |what| DataDirError::Damaged { path: path.clone(), what };
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(DataDirError::Io { path: path.clone(), source }),
        };
        let text = std::str::from_utf8(&bytes).map_err(|_| damaged("it is not text"))?;
        let (body, crc) = text.rsplit_once("crc ").ok_or_else(|| damaged("it has no checksum"))?;
        if u32::from_str_radix(crc.trim_end(), 16) != Ok(crc32c::crc32c(body.as_bytes())) {
            return Err(damaged("its checksum fails"));
        }
        let field = |name| fields(body, name).next();
        let format = field("format").and_then(|format| format.parse().ok());
        let format = format.ok_or_else(|| damaged("it has no data format"))?;
        OtherFormat::check(format)
            .map_err(|format| DataDirError::Format { path: dir.to_owned(), format })?;
        let founders = founders(body).ok_or_else(|| damaged("a founder has no id or no URL"))?;
        let id = |name| field(name).and_then(number);
        match (id("cluster"), id("member"), id("incarnation")) {
            (Some(cluster_id), Some(member_id), Some(incarnation)) => {
                let identity = Identity { cluster_id, member_id, incarnation };
                Ok(Some(Self { identity, founders, log: field("log").map(PathBuf::from) }))
            }
            _ => Err(damaged("an id is missing")),
        }
    }
}

/// The values of a field.
fn fields<'a>(body: &'a str, name: &str) -> impl Iterator<Item = &'a str> {
    body.lines().filter_map(move |line| line.strip_prefix(name)?.strip_prefix(' '))
}

fn number(id: &str) -> Option<u64> {
    u64::from_str_radix(id, 16).ok()
}

/// The founders; `None` if one has no id or no URL.
fn founders(body: &str) -> Option<Founders> {
    let mut founders = Founders::new();
    for founder in fields(body, "founder") {
        let (id, url) = founder.split_once(' ')?;
        founders.entry(number(id)?).or_default().push(url.to_owned());
    }
    Some(founders)
}
