//! A cluster whose clients know one member alone, which does not lead.

use std::sync::MutexGuard;
use std::time::Duration;

use crate::cluster::Cluster;
use crate::server::Server;
use crate::victim::Victim;
use crate::wait;

/// The places that members are put in: the one that clients talk to, the one that leads, and the
/// one that may be killed.
const ASKED: usize = 0;
const LEADER: usize = 1;
const OTHER: usize = 2;
/// How long a member may take to have what the others have.
const EVEN_WITHIN: Duration = Duration::from_secs(30);
/// What the log says of a panic.
const FAULT: &str = "a fault of the program";

/// Three members, of which one that does not lead is asked. The other one that does not lead can be
/// killed in between.
#[derive(Debug)]
pub struct ByFollower {
    // Before the cluster, which may take its network with it.
    victim: Option<Victim>,
    cluster: Cluster,
    /// Who leads, and in which term, from beginning to end.
    led: (u64, u64),
}

impl ByFollower {
    /// Takes three members that are ready.
    ///
    /// # Panics
    /// When they do not agree on a leader.
    pub fn of(mut cluster: Cluster) -> Self {
        assert_eq!(cluster.members.len(), 3, "two of three are a quorum");
        let (leader, term) = cluster.leader();
        cluster.members.swap(leader, LEADER);
        let led = (cluster.status(LEADER).leader, term);
        Self { victim: None, cluster, led }
    }

    /// The member that neither leads nor is asked is killed at once and then every so often, if
    /// that is given, and started again each time.
    #[must_use]
    pub fn killed(mut self, every: Option<Duration>) -> Self {
        let other = every.map(|every| Victim::new(self.cluster.members.remove(OTHER), every));
        self.victim = other;
        self
    }

    /// Where clients reach the member that they are to know.
    pub fn url(&self) -> String {
        self.cluster.members[ASKED].url()
    }

    /// Where clients reach each member, without the scheme; first the one that they are to know.
    pub fn addresses(&self) -> Vec<String> {
        let other = self.victim.as_ref().map(|victim| victim.spared().address());
        self.cluster.members.iter().map(Server::address).chain(other).collect()
    }

    /// Waits until all members have what the leader has; none is killed as long as the answer
    /// lives. For what asks each member by itself.
    ///
    /// # Panics
    /// When they do not get there.
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

    /// Ends the test of it.
    ///
    /// # Panics
    /// When there was another leader in between, the other member was not killed though it should,
    /// or a member panicked.
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
