//! How many connections there may be: the system gives a process so many files and no more, and
//! the log, the database and the other members need theirs whatever clients do.

use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Role;
use crate::logging::Seldom;

/// Files that the program opens itself, connections to other members and those that it lends them
/// included; as in etcd.
const OWN: u64 = 150;
/// Connections of those who watch over the member.
const WATCHERS: u64 = 32;
/// Connections of other members at least, and as a part of all files: a member that was cut off
/// comes back before the system has found out that its old connections are dead.
const MEMBERS_MIN: u64 = 64;
const MEMBERS_PART: u64 = 8;
/// Files of which clients get a part at least, however few there are.
const CLIENTS_PART: u64 = 4;
/// Files beyond which it makes no difference.
const FILES_MAX: u64 = 1 << 24;
/// How often it is said that there is no place left.
const FULL_PAUSE: Duration = Duration::from_secs(10);

/// Takes all files that the system gives; returns how many.
fn raise_limit() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let (current, most) = (limit.current.unwrap_or(FILES_MAX), limit.maximum.unwrap_or(FILES_MAX));
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

/// The places for connections. Cloning shares them.
#[derive(Clone)]
pub(crate) struct Places {
    clients: Arc<Share>,
    members: Arc<Share>,
    watchers: Arc<Share>,
}

/// The places for one kind of connections.
struct Share {
    places: Arc<Semaphore>,
    /// Says that they are all taken.
    full: Seldom,
}

impl Share {
    fn new(places: u64) -> Arc<Self> {
        let places = usize::try_from(places).unwrap_or(Semaphore::MAX_PERMITS);
        let full = Seldom::new(FULL_PAUSE);
        Arc::new(Self { places: Arc::new(Semaphore::new(places)), full })
    }
}

impl Places {
    /// As many as the system has files for, after all were asked for.
    pub(crate) fn new() -> Self {
        let files = raise_limit();
        let (members, clients) = shares(files);
        tracing::info!(files, clients, members, "connections at most, by the limit of open files");
        Self {
            clients: Share::new(clients),
            members: Share::new(members),
            watchers: Share::new(WATCHERS),
        }
    }

    /// Waits for a place at a port; it is free again when what is returned is dropped.
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
                "no more connections are taken until others end; raise the limit of open files"
            );
        }
        share.places.clone().acquire_owned().await.ok()
    }
}

/// Places for members and for clients.
fn shares(files: u64) -> (u64, u64) {
    let members = (files / MEMBERS_PART).max(MEMBERS_MIN);
    let clients = files.saturating_sub(OWN + WATCHERS + members).max(files / CLIENTS_PART);
    (members, clients)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_get_what_is_left() {
        assert_eq!(shares(1024), (128, 714));
        assert_eq!(shares(256), (64, 64));
        let (members, clients) = shares(65536);
        assert!(members + clients + OWN + WATCHERS <= 65536);
    }
}
