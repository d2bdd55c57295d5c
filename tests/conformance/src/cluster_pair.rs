//! Three members of Quorate and three of etcd, with identical ids.

use std::sync::MutexGuard;
use std::time::Duration;

use quorate_test_support::cluster::Cluster;
use quorate_test_support::follower_cluster::FollowerCluster;
use quorate_test_support::net::Net;
use quorate_test_support::server::Server;
use quorate_test_support::{program, wait};

/// Index of the leader in both clusters, so that it has the same position in lists.
const LEADER: usize = 1;
/// How many terms beyond the current ones the common term lies. Each hand-over takes one term.
const HAND_OVERS: u64 = 3;
/// How many times a common term is tried, in case a cluster passes it.
const ATTEMPTS: usize = 5;
/// The storage version that all members report in the end; etcd's members start with an older one.
const STORAGE: &str = "3.7.0";
/// How long the members may take to report it.
const STORAGE_WITHIN: Duration = Duration::from_secs(60);

/// Both clusters, ready, each on its own network: with the same peer URLs and therefore the same
/// ids, and with the same leader in the same term. Clients use a follower.
#[derive(Debug)]
pub struct ClusterPair {
    /// The cluster under test.
    pub quorate: FollowerCluster,
    /// The reference cluster.
    pub etcd: FollowerCluster,
}

impl ClusterPair {
    /// Starts both with these additional flags; `None`, reported as a skip, if etcd cannot be built
    /// or networks cannot be made here. If `killed_every` is given, Quorate's other follower is
    /// killed at that interval.
    ///
    /// # Panics
    /// If a cluster does not start.
    pub fn start(suite: &str, flags: &[&str], killed_every: Option<Duration>) -> Option<Self> {
        let etcd = program::etcd(suite, "etcd-3.7")?;
        if !Net::can_be_made(suite) {
            return None;
        }
        let [quorate, etcd] = [program::quorate(), etcd].map(|program| {
            let mut cluster = Cluster::on_machines(&program, 3, flags);
            cluster.spawn_in_turn();
            cluster.start();
            await_storage_version(&cluster);
            cluster
        });
        let is_same = (0..ATTEMPTS).any(|_| {
            let term = quorate.leader().1.max(etcd.leader().1) + HAND_OVERS;
            [&quorate, &etcd].into_iter().all(|cluster| make_leader(cluster, LEADER, term))
        });
        assert!(is_same, "the clusters do not reach a common term");
        let quorate = FollowerCluster::new(quorate).with_kills(killed_every);
        Some(Self { quorate, etcd: FollowerCluster::new(etcd) })
    }

    /// Waits until the members of each cluster are at the same revision. No member is killed while
    /// the returned guard lives.
    ///
    /// # Panics
    /// If they do not get there in time.
    pub fn wait_until_in_sync(&self) -> Option<MutexGuard<'_, Server>> {
        assert!(self.etcd.wait_until_in_sync().is_none(), "no member of etcd is killed");
        self.quorate.wait_until_in_sync()
    }

    /// Checks both clusters and ends them.
    ///
    /// # Panics
    /// If a cluster fails its final check; see [`FollowerCluster::finish`].
    pub fn finish(self) {
        self.quorate.finish();
        self.etcd.finish();
    }
}

/// Waits until all members report the final storage version: etcd's members upgrade one by one.
fn await_storage_version(cluster: &Cluster) {
    wait::until("one storage version", STORAGE_WITHIN, || {
        let mut statuses = (0..cluster.members.len()).map(|place| cluster.status(place));
        statuses.all(|status| status.storage_version == STORAGE).then_some(())
    });
}

/// Makes the member at `place` the leader in `term`, by hand-overs that take one term each; false
/// if one took more.
fn make_leader(cluster: &Cluster, place: usize, term: u64) -> bool {
    loop {
        let (leader, now) = cluster.leader();
        if (leader, now) == (place, term) {
            return true;
        }
        let next = match term.checked_sub(now) {
            None | Some(0) => return false,
            Some(1) => place,
            // With two hand-overs left, the next leader must not be `place`, so that the last one
            // can go to it.
            Some(left) => (0..cluster.members.len())
                .find(|other| *other != leader && (left > 2 || *other != place))
                .expect("one of three is neither"),
        };
        if next == leader {
            return false;
        }
        cluster.move_leader(next);
    }
}
