//! Members that leave their cluster, or have to.

use std::fs;
use std::process::Command;

use quorate_proto::etcdserverpb as pb;
use quorate_proto::etcdserverpb::cluster_client::ClusterClient;
use quorate_test_support::assert_contains;

use crate::{assert_ended, cluster};

#[test]
fn a_member_that_removes_itself_is_answered() {
    let mut cluster = cluster(3);
    let (leader, _) = cluster.leader();
    let follower = (leader + 1) % 3;
    // First a follower, then the leader of the remaining two.
    for place in [follower, leader] {
        let id = cluster.member_id(place);
        let client = ClusterClient::new(cluster.channel(place));
        let removed = cluster.retry("a removal", async || {
            // Refused until the members have been connected for a while.
            let removed = client.clone().member_remove(pb::MemberRemoveRequest { id }).await;
            removed.map(tonic::Response::into_inner)
        });
        assert!(removed.members.iter().all(|member| member.id != id), "{removed:?}");
        assert_ended(&mut cluster.members[place], Some("removed"));
        let said = cluster.members[place].log_of_run();
        assert_contains(&said, &["permanently removed from the cluster"]);
    }
    let last = (0..3).find(|place| ![leader, follower].contains(place)).unwrap();
    cluster.put(last, "key", "value");
    assert_eq!(cluster.list(last).len(), 1);
}

#[test]
fn a_member_with_an_older_copy_of_its_data_stops() {
    let mut cluster = cluster(3);
    let (leader, _) = cluster.leader();
    let place = (leader + 1) % 3;
    cluster.put(place, "key", "old");
    cluster.members[place].kill();
    let folder = tempfile::tempdir().unwrap();
    let data = cluster.members[place].data_dir();
    let copy = folder.path().join("copy");
    let copied = Command::new("cp").arg("-a").args([&data, &copy]).status().unwrap();
    assert!(copied.success());
    cluster.members[place].start();
    // It has applied its own put, so the leader knows how far its log reached.
    cluster.put(place, "key", "new");
    assert_eq!(cluster.get(place, "key"), Some("new".to_owned()));
    cluster.members[place].kill();
    fs::remove_dir_all(&data).unwrap();
    let copied = Command::new("cp").arg("-a").args([&copy, &data]).status().unwrap();
    assert!(copied.success());
    cluster.members[place].spawn();
    assert_ended(&mut cluster.members[place], Some("other-data"));
    let said = cluster.members[place].log_of_run();
    assert_contains(&said, &["its data directory is an older copy", "etcdctl member remove"]);
    cluster.put(leader, "key", "newer");
}
