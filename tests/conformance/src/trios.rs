//! Three members of Quorate and three of etcd that cannot be told apart by who they are.

use std::sync::MutexGuard;
use std::time::Duration;

use quorate_test_support::by_follower::ByFollower;
use quorate_test_support::cluster::Cluster;
use quorate_test_support::net::Net;
use quorate_test_support::server::Server;
use quorate_test_support::{program, wait};

/// The place of the member that leads in both, so that it stands at the same place in lists.
const LEADER: usize = 1;
/// Terms that both clusters go through, so that they come to the same one.
const HAND_OVERS: u64 = 3;
/// How often they are brought to the same term, should they pass it.
const ATTEMPTS: usize = 5;
/// The version that storage has in the end; etcd's has an earlier one at first.
const STORAGE: &str = "3.7.0";
/// How long that may take.
const SETTLED_WITHIN: Duration = Duration::from_secs(60);

/// Both clusters, ready, each on a network of its own: with the same peer URLs, and thus the same
/// ids, and with the same leader in the same term. Asked is a member that does not lead.
#[derive(Debug)]
pub struct Trios {
    /// The cluster under test.
    pub quorate: ByFollower,
    /// The one it is compared with.
    pub etcd: ByFollower,
}

impl Trios {
    /// Starts both with these flags besides; `None`, said loudly, when etcd cannot be built here or
    /// networks cannot be made. The third member of Quorate is killed as often as that is given.
    ///
    /// # Panics
    /// When one does not start.
    pub fn start(suite: &str, flags: &[&str], killed_every: Option<Duration>) -> Option<Self> {
        let etcd = program::peer(suite, "etcd-3.7")?;
        if !Net::can_be_made(suite) {
            return None;
        }
        let [quorate, etcd] = [program::quorate(), etcd].map(|program| {
            let mut cluster = Cluster::on_machines(&program, 3, flags);
            cluster.spawn_in_turn();
            cluster.start();
            settle(&cluster);
            cluster
        });
        let is_same = (0..ATTEMPTS).any(|_| {
            let term = quorate.leader().1.max(etcd.leader().1) + HAND_OVERS;
            [&quorate, &etcd].into_iter().all(|cluster| lead(cluster, LEADER, term))
        });
        assert!(is_same, "they do not come to the same term");
        let quorate = ByFollower::of(quorate).killed(killed_every);
        Some(Self { quorate, etcd: ByFollower::of(etcd) })
    }

    /// Waits until the members of each have come equally far; none is killed as long as the answer
    /// lives.
    ///
    /// # Panics
    /// When they do not get there.
    pub fn even(&self) -> Option<MutexGuard<'_, Server>> {
        assert!(self.etcd.even().is_none(), "nobody kills a member of etcd");
        self.quorate.even()
    }

    /// Ends the comparison.
    ///
    /// # Panics
    /// When the members under test did not behave; see [`ByFollower::finish`].
    pub fn finish(self) {
        self.quorate.finish();
        self.etcd.finish();
    }
}

/// Waits until all members store as their version does: etcd's change over one by one.
fn settle(cluster: &Cluster) {
    wait::until("one version of the storage", SETTLED_WITHIN, || {
        let mut said = (0..cluster.members.len()).map(|place| cluster.status(place));
        said.all(|status| status.storage_version == STORAGE).then_some(())
    });
}

/// Has the member at `place` lead in `term`, by hand-overs that take a term each; false when one
/// took more.
fn lead(cluster: &Cluster, place: usize, term: u64) -> bool {
    loop {
        let (leader, now) = cluster.leader();
        if (leader, now) == (place, term) {
            return true;
        }
        let next = match term.checked_sub(now) {
            None | Some(0) => return false,
            Some(1) => place,
            // In time for the last hand-over, another one leads.
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
