//! A cluster whose clients talk to one follower only.

use std::sync::MutexGuard;
use std::time::Duration;

use crate::cluster::Cluster;
use crate::server::Server;
use crate::victim::Victim;
use crate::wait;

/// Indices into the members: the one that clients talk to, the leader, and the one that may be
/// killed.
const ASKED: usize = 0;
const LEADER: usize = 1;
const OTHER: usize = 2;
/// How long a member may take to catch up with the leader.
const EVEN_WITHIN: Duration = Duration::from_secs(30);
/// Marks a panic in a member's log.
const FAULT: &str = "a fault of the program";

/// Three members. Clients talk to one follower; the other follower can be killed and restarted.
#[derive(Debug)]
pub struct ByFollower {
    // Dropped before the cluster, whose drop may take down the network.
    victim: Option<Victim>,
    cluster: Cluster,
    /// The leader's id and its term. Both must stay the same until the end.
    led: (u64, u64),
}

impl ByFollower {
    /// Wraps a cluster of three ready members.
    ///
    /// # Panics
    /// If the members do not agree on a leader.
    pub fn of(mut cluster: Cluster) -> Self {
        assert_eq!(cluster.members.len(), 3, "two of three are a quorum");
        let (leader, term) = cluster.leader();
        cluster.members.swap(leader, LEADER);
        let led = (cluster.status(LEADER).leader, term);
        Self { victim: None, cluster, led }
    }

    /// If `every` is given: kills the other follower at once and then at this interval, and
    /// restarts it after each kill.
    #[must_use]
    pub fn killed(mut self, every: Option<Duration>) -> Self {
        let other = every.map(|every| Victim::new(self.cluster.members.remove(OTHER), every));
        self.victim = other;
        self
    }

    /// URL of the follower that clients talk to.
    pub fn url(&self) -> String {
        self.cluster.members[ASKED].url()
    }

    /// Client addresses of all members, without the scheme; the follower that clients talk to is
    /// first.
    pub fn addresses(&self) -> Vec<String> {
        let other = self.victim.as_ref().map(|victim| victim.spared().address());
        self.cluster.members.iter().map(Server::address).chain(other).collect()
    }

    /// Waits until all members are at the leader's revision. No member is killed while the returned
    /// guard lives. For checks that read each member by itself.
    ///
    /// # Panics
    /// If the members do not get there in time.
    pub fn even(&self) -> Option<MutexGuard<'_, Server>> {
        let spared = self.victim.as_ref().map(Victim::spared);
        let members = self.cluster.members.iter().map(Server::url);
        let urls: Vec<String> = members.chain(spared.as_ref().map(|other| other.url())).collect();
        wait::until("all members have come equally far", EVEN_WITHIN, || {
            let far = urls.iter().map(|url| {
                let status = self.cluster.status_at(url);
                (status.header.expect("a header").revision, status.leader)
            });
            let far: Vec<_> = far.collect();
            far.iter().all(|member| *member == far[LEADER] && member.1 != 0).then_some(())
        });
        spared
    }

    /// Checks the whole run and ends it.
    ///
    /// # Panics
    /// If the leader or the term changed, a member panicked, or kills were requested and none
    /// happened.
    pub fn finish(mut self) {
        if let Some((kills, server)) = self.victim.take().map(Victim::finish) {
            assert!(kills > 0, "nobody was killed");
            self.cluster.members.push(server);
        }
        let (leader, term) = self.cluster.leader();
        let led = (self.cluster.status(leader).leader, term);
        assert_eq!(led, self.led, "another member took over, in another term");
        for member in &self.cluster.members {
            let log = member.log();
            let fault = log.lines().find(|line| line.contains(FAULT));
            assert!(fault.is_none(), "{} panicked: {fault:?}", member.url());
        }
    }
}
