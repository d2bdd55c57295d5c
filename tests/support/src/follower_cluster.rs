//! A cluster whose clients use one follower only.

use std::sync::MutexGuard;
use std::time::Duration;

use crate::cluster::Cluster;
use crate::killed_server::KilledServer;
use crate::server::Server;
use crate::wait;

/// Indices of the members: the follower that clients use, the leader, and the follower that may be
/// killed.
const FOLLOWER: usize = 0;
const LEADER: usize = 1;
const OTHER: usize = 2;
/// How long a member may take to catch up with the leader.
const IN_SYNC_WITHIN: Duration = Duration::from_secs(30);

/// Three members. Clients use one follower; the other follower can be killed and restarted.
#[derive(Debug)]
pub struct FollowerCluster {
    // Dropped before the cluster, whose drop may take down the network.
    killed: Option<KilledServer>,
    cluster: Cluster,
    /// The leader's id and its term. Both must stay the same until the end.
    leadership: (u64, u64),
}

impl FollowerCluster {
    /// Wraps a cluster of three ready members.
    ///
    /// # Panics
    /// If the members do not agree on a leader.
    pub fn new(mut cluster: Cluster) -> Self {
        assert_eq!(cluster.members.len(), 3, "two of three are a quorum");
        let (leader, term) = cluster.leader();
        cluster.members.swap(leader, LEADER);
        let leadership = (cluster.status(LEADER).leader, term);
        Self { killed: None, cluster, leadership }
    }

    /// If `every` is given: kills the other follower at once and then at this interval, and
    /// restarts it after each kill.
    #[must_use]
    pub fn with_kills(mut self, every: Option<Duration>) -> Self {
        self.killed =
            every.map(|every| KilledServer::new(self.cluster.members.remove(OTHER), every));
        self
    }

    /// URL of the follower that clients use.
    pub fn url(&self) -> String {
        self.cluster.members[FOLLOWER].url()
    }

    /// Client addresses of all members, without the scheme; the follower that clients use is
    /// first.
    pub fn addresses(&self) -> Vec<String> {
        let other = self.killed.as_ref().map(|server| server.pause_kills().address());
        self.cluster.members.iter().map(Server::address).chain(other).collect()
    }

    /// Waits until all members are at the leader's revision. No member is killed while the returned
    /// guard lives. For checks that read each member by itself.
    ///
    /// # Panics
    /// If the members do not get there in time.
    pub fn wait_until_in_sync(&self) -> Option<MutexGuard<'_, Server>> {
        let paused = self.killed.as_ref().map(KilledServer::pause_kills);
        let members = self.cluster.members.iter().map(Server::url);
        let urls: Vec<String> = members.chain(paused.as_ref().map(|other| other.url())).collect();
        wait::until("all members at one revision", IN_SYNC_WITHIN, || {
            let states = urls.iter().map(|url| {
                let status = self.cluster.status_at(url);
                (status.header.expect("a header").revision, status.leader)
            });
            let states: Vec<_> = states.collect();
            states.iter().all(|state| *state == states[LEADER] && state.1 != 0).then_some(())
        });
        paused
    }

    /// Checks the whole run and ends it.
    ///
    /// # Panics
    /// If the leader or the term changed, a member panicked, or kills were requested and none
    /// happened.
    pub fn finish(mut self) {
        if let Some((kills, server)) = self.killed.take().map(KilledServer::finish) {
            assert!(kills > 0, "no member was killed");
            self.cluster.members.push(server);
        }
        let (leader, term) = self.cluster.leader();
        let leadership = (self.cluster.status(leader).leader, term);
        assert_eq!(leadership, self.leadership, "the leader or the term changed");
        for member in &self.cluster.members {
            assert_eq!(member.panic_line(), None, "{} has panicked", member.url());
        }
    }
}
