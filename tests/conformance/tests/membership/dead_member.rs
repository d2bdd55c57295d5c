//! A dead member of three is replaced by a learner.

use std::path::Path;
use std::time::Duration;

use quorate_proto::etcdserverpb as pb;
use quorate_proto::etcdserverpb::cluster_client::ClusterClient;
use quorate_test_support::cluster::Cluster;
use quorate_test_support::{program, wait};
use tonic::{Code, Status};

/// How long the members may take to count as healthy, or to notice that one is dead.
const WITHIN: Duration = Duration::from_secs(60);
const URL_EXISTS: &str = "etcdserver: Peer URLs already exists";
const UNHEALTHY: &str = "etcdserver: unhealthy cluster";

/// A cluster of three. Its leader gets all requests, because in etcd each member has its own view
/// of the connections.
struct Members {
    cluster: Cluster,
    leader: usize,
    dead: usize,
}

impl Members {
    fn start(program: &Path) -> Self {
        let cluster = Cluster::start_new_in_turn(program, 3, &[]);
        let leader = cluster.leader().0;
        Self { cluster, leader, dead: (leader + 1) % 3 }
    }

    fn add(&self, url: &str, is_learner: bool) -> Result<(), Status> {
        let mut client = ClusterClient::new(self.cluster.channel(self.leader));
        let peer_urls = vec![url.to_owned()];
        let request = pb::MemberAddRequest { peer_urls, is_learner };
        self.cluster.block_on(client.member_add(request)).map(drop)
    }

    /// Adds a member that has the URL of another one until it is refused with this text. The URL is
    /// checked last, so nothing is ever added.
    fn wait_for_refusal(&self, is_learner: bool, text: &str) {
        let url = self.cluster.members[self.leader].peer_url();
        wait::until(text, WITHIN, || {
            let refused = self.add(&url, is_learner).unwrap_err();
            (refused.message() == text).then_some(())
        });
    }

    /// Kills a member once a voter could be added, and waits until none can be.
    fn kill_one(&mut self) {
        self.wait_for_refusal(false, URL_EXISTS);
        self.cluster.members[self.dead].kill();
        self.wait_for_refusal(false, UNHEALTHY);
    }

    /// Promotes the learner at `place`, which runs; the dead member has been removed.
    fn promote(&self, place: usize) {
        let Self { cluster, leader, .. } = self;
        cluster.promote(*leader, place);
        let voters = cluster.list(*leader);
        assert!(voters.len() == 3 && voters.iter().all(|voter| !voter.is_learner), "{voters:?}");
        cluster.put(place, "key", "value");
    }
}

#[track_caller]
fn assert_unhealthy(refused: &Status) {
    assert_eq!((refused.code(), refused.message()), (Code::Unavailable, UNHEALTHY));
}

/// etcd takes the learner only after the dead member has been removed: then one more failure loses
/// the quorum before the data have a third copy.
#[test]
fn etcd_removes_the_dead_member_first() {
    let Some(etcd) = program::etcd("replacement of a dead member", "etcd-3.7") else { return };
    let mut members = Members::start(&etcd);
    members.kill_one();
    let place = members.cluster.new_place();
    let url = members.cluster.members[place].peer_url();
    assert_unhealthy(&members.add(&url, true).unwrap_err());
    let Members { cluster, leader, dead } = &mut members;
    cluster.remove(*leader, *dead);
    cluster.add_learner(*leader, place);
    cluster.members[place].start();
    members.promote(place);
}

#[test]
fn a_learner_is_added_before_the_dead_member_is_removed() {
    let mut members = Members::start(&program::quorate());
    members.kill_one();
    let place = members.cluster.new_place();
    let url = members.cluster.members[place].peer_url();
    // A voter would raise the quorum to three, which is all that runs.
    assert_unhealthy(&members.add(&url, false).unwrap_err());
    members.add(&url, true).unwrap();
    assert_unhealthy(&members.add("http://127.0.0.1:1", false).unwrap_err());
    // Already added: this sets its flags.
    members.cluster.add_learner(members.leader, place);
    members.cluster.members[place].start();
    members.cluster.remove(members.leader, members.dead);
    members.promote(place);
}

#[test]
fn no_learner_is_added_without_a_quorum() {
    let mut members = Members::start(&program::quorate());
    members.kill_one();
    let last = (members.dead + 1) % 3;
    members.cluster.members[last].kill();
    members.wait_for_refusal(true, UNHEALTHY);
    assert_unhealthy(&members.add("http://127.0.0.1:1", true).unwrap_err());
}
