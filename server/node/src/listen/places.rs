//! Limits the number of connections. The system limits the open files of a process, and clients
//! must not use up those that the log, the database and the other members need.

use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::role::Role;
use crate::logging::RateLimit;

/// Files that the program opens itself, as in etcd. They include the connections that it opens to
/// other members, reverse connections among them.
const OWN: u64 = 150;
/// Connections for monitoring.
const WATCHERS: u64 = 32;
/// Fewest connections that other members may have. The number is generous because a member that
/// was cut off reconnects before the system notices that its old connections are dead.
const MEMBERS_MIN: u64 = 64;
/// Members may have this fraction of all files (1/8), if it is more than the minimum.
const MEMBERS_PART: u64 = 8;
/// Clients get at least this fraction of all files (1/4), however few files there are.
const CLIENTS_PART: u64 = 4;
/// More files than this make no difference.
const FILES_MAX: u64 = 1 << 24;
/// Shortest time between two log lines about used-up connections.
const FULL_PAUSE: Duration = Duration::from_secs(10);

/// Raises the limit of open files to the maximum that the system allows; returns the limit.
fn raise_limit() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let current = limit.current.unwrap_or(FILES_MAX);
    let most = limit.maximum.unwrap_or(FILES_MAX);
    if current >= most {
        return current.min(FILES_MAX);
    }
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => most.min(FILES_MAX),
        Err(error) => {
            tracing::warn!(%error, current, most, "cannot raise the limit of open files");
            current.min(FILES_MAX)
        }
    }
}

/// The permits for connections. Clones share them.
#[derive(Clone)]
pub(crate) struct Places {
    clients: Arc<Share>,
    members: Arc<Share>,
    watchers: Arc<Share>,
}

/// The permits for one kind of connection.
struct Share {
    places: Arc<Semaphore>,
    /// Limits the log lines about used-up permits.
    full: RateLimit,
}

impl Share {
    fn new(places: u64) -> Arc<Self> {
        let places = usize::try_from(places).unwrap_or(Semaphore::MAX_PERMITS);
        let full = RateLimit::new(FULL_PAUSE);
        Arc::new(Self { places: Arc::new(Semaphore::new(places)), full })
    }
}

impl Places {
    /// Raises the limit of open files and divides it among clients, members and monitoring.
    pub(crate) fn new() -> Self {
        let files = raise_limit();
        let (members, clients) = shares(files);
        tracing::info!(files, clients, members, "connection limits, from the limit of open files");
        Self {
            clients: Share::new(clients),
            members: Share::new(members),
            watchers: Share::new(WATCHERS),
        }
    }

    /// Waits for a permit to accept a connection at a port of this role. Dropping the permit
    /// returns it.
    pub(super) async fn take(&self, role: Role) -> Option<OwnedSemaphorePermit> {
        let share = match role {
            Role::Clients | Role::ClientsWithoutPages | Role::Pages => &self.clients,
            Role::Metrics => &self.watchers,
            Role::Peers => &self.members,
        };
        if let Ok(place) = share.places.clone().try_acquire_owned() {
            return Some(place);
        }
        if share.full.allows().is_some() {
            tracing::warn!(
                port = ?role,
                "no new connection is accepted until another ends; raise the limit of open files"
            );
        }
        share.places.clone().acquire_owned().await.ok()
    }
}

/// The numbers of connections for members and for clients.
fn shares(files: u64) -> (u64, u64) {
    let members = (files / MEMBERS_PART).max(MEMBERS_MIN);
    let clients = files.saturating_sub(OWN + WATCHERS + members).max(files / CLIENTS_PART);
    (members, clients)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_get_the_remaining_files() {
        assert_eq!(shares(1024), (128, 714));
        assert_eq!(shares(256), (64, 64));
        let (members, clients) = shares(65536);
        assert!(members + clients + OWN + WATCHERS <= 65536);
    }
}
