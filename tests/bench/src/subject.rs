//! The two servers under comparison, each with its own data directory.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use quorate_proto::etcdserverpb::{StatusRequest, StatusResponse};
use quorate_test_support::server::Server;
use quorate_test_support::{program, repository};
use tempfile::TempDir;

use crate::client::message::Rpc;
use crate::client::{self};

/// The flags of both servers, besides addresses and data directory.
pub(crate) const FLAGS: [&str; 1] = ["--quota-backend-bytes=8589934592"];
/// Maximum number of attempts to start a server, each with new ports.
const ATTEMPTS: usize = 3;

/// One of the two servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Name {
    Quorate,
    Etcd,
}

impl Name {
    pub(crate) fn shown(self) -> &'static str {
        match self {
            Self::Quorate => "Quorate",
            Self::Etcd => "etcd",
        }
    }
}

/// One value for each of the two servers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pair<T> {
    pub(crate) quorate: T,
    pub(crate) etcd: T,
}

impl<T> Pair<T> {
    /// Calls `make` for Quorate, then for etcd.
    pub(crate) fn of(mut make: impl FnMut(Name) -> Result<T>) -> Result<Self> {
        let quorate = make(Name::Quorate).context("Quorate")?;
        Ok(Self { quorate, etcd: make(Name::Etcd).context("etcd")? })
    }

    pub(crate) fn get(&self, name: Name) -> &T {
        match name {
            Name::Quorate => &self.quorate,
            Name::Etcd => &self.etcd,
        }
    }
}

/// The programs, and the folder for their data.
#[derive(Debug)]
pub(crate) struct Programs {
    pub(crate) servers: Pair<PathBuf>,
    /// etcd's load generator.
    pub(crate) benchmark: PathBuf,
    /// On the repository's file system: tmpfs would make fsync free.
    pub(crate) folder: TempDir,
}

impl Programs {
    /// Finds the programs, and builds those that are missing.
    ///
    /// # Errors
    /// If etcd cannot be built here.
    pub(crate) fn find() -> Result<Self> {
        let peer = |name| program::etcd("bench", name).context("there is no etcd to compare with");
        let etcd = peer("etcd-3.7")?;
        let benchmark = peer("benchmark")?;
        let servers = Pair { quorate: program::quorate(), etcd };
        let target = repository().join("target");
        fs::create_dir_all(&target)?;
        let folder = tempfile::Builder::new().prefix("bench-").tempdir_in(target)?;
        Ok(Self { servers, benchmark, folder })
    }

    /// Starts a server without data and waits until it is ready.
    ///
    /// # Errors
    /// If it does not become ready.
    pub(crate) fn start(&self, name: Name) -> Result<Subject> {
        self.start_with(name, &[])
    }

    /// Like [`start`](Self::start), with more flags.
    ///
    /// # Errors
    /// If it does not become ready.
    pub(crate) fn start_with(&self, name: Name, flags: &[&str]) -> Result<Subject> {
        let program = self.servers.get(name);
        let mut said = String::new();
        for _ in 0..ATTEMPTS {
            let folder = TempDir::new_in(&self.folder)?;
            // Writes back pages that other servers left dirty, so that the disk is idle when this
            // one starts.
            rustix::fs::sync();
            let flags = [&FLAGS, flags].concat();
            let mut server = Server::in_folder(program, folder.path(), &flags);
            if server.try_start() {
                return Ok(Subject { server, _folder: folder });
            }
            said = server.log_tail();
        }
        bail!("{} is not ready:\n{said}", program.display())
    }

    /// Starts a cluster without data and waits until it is ready.
    ///
    /// # Errors
    /// If a member does not become ready.
    pub(crate) fn start_cluster(&self, name: Name, size: usize) -> Result<Cluster> {
        let folder = TempDir::new_in(&self.folder)?;
        rustix::fs::sync();
        let program = self.servers.get(name);
        let named = |number| {
            let name = format!("m{number}");
            Server::in_folder(program, &folder.path().join(&name), &FLAGS).named(&name)
        };
        let mut servers: Vec<Server> = (1..=size).map(named).collect();
        let listed =
            servers.iter().map(|server| format!("{}={}", server.name(), server.peer_url()));
        let origin = format!("--initial-cluster={}", listed.collect::<Vec<_>>().join(","));
        for server in &mut servers {
            server.set_initial_cluster(&[&origin]);
            server.spawn();
        }
        for server in &mut servers {
            ensure!(
                server.is_ready(),
                "{} is not ready:\n{}",
                program.display(),
                server.log_tail()
            );
        }
        Ok(Cluster { servers, _folder: folder })
    }
}

/// Servers that are members of one cluster.
#[derive(Debug)]
pub(crate) struct Cluster {
    servers: Vec<Server>,
    // Declared after the servers, so that it is dropped after them.
    _folder: TempDir,
}

impl Cluster {
    /// The members' client addresses, the leader's first.
    ///
    /// # Errors
    /// If a member does not answer a status request.
    pub(crate) fn addresses(&self) -> Result<Vec<String>> {
        let mut leads_at = Vec::new();
        for server in &self.servers {
            let status: StatusResponse =
                client::ask(&server.address(), Rpc::Status, &StatusRequest {})?;
            let id = status.header.unwrap_or_default().member_id;
            leads_at.push((status.leader != id, server.address()));
        }
        leads_at.sort();
        Ok(leads_at.into_iter().map(|(_, address)| address).collect())
    }

    pub(crate) fn pids(&self) -> Vec<u32> {
        self.servers.iter().map(Server::pid).collect()
    }
}

/// A server, running or restartable with the same data.
#[derive(Debug)]
pub(crate) struct Subject {
    pub(crate) server: Server,
    // Declared after the server, so that it is dropped after it.
    _folder: TempDir,
}

impl Subject {
    pub(crate) fn address(&self) -> String {
        self.server.address()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.server.pid()
    }

    /// Disk space of its data directory, in bytes.
    pub(crate) fn disk_bytes(&self) -> Result<u64> {
        disk_bytes(&self.server.data_dir())
    }
}

fn disk_bytes(folder: &Path) -> Result<u64> {
    use std::os::unix::fs::MetadataExt as _;

    let mut bytes = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        bytes +=
            if metadata.is_dir() { disk_bytes(&entry.path())? } else { metadata.blocks() * 512 };
    }
    Ok(bytes)
}
