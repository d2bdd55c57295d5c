//! Joining an existing cluster.

use quorate_test_support::cluster::Cluster;
use quorate_test_support::{assert_contains, program};

use crate::{cluster, refusal, wipe};

#[test]
fn members_are_added_one_by_one() {
    let mut cluster = Cluster::start_new_with_tls(&program::quorate(), 1, &[]);
    cluster.put(0, "key", "value");
    for size in 2..=3 {
        let place = cluster.add(0);
        let unstarted = cluster.list(0).into_iter().filter(|member| member.name.is_empty());
        assert_eq!(unstarted.count(), 1);
        cluster.members[place].start();
        assert_eq!(cluster.get(place, "key"), Some("value".to_owned()));
        let known = cluster.list(place);
        assert_eq!(known.len(), size);
        assert!(known.iter().all(|member| !member.name.is_empty() && !member.is_learner));
    }
    // The two added members are a quorum.
    cluster.members[0].kill();
    cluster.put(1, "key", "changed");
    assert_eq!(cluster.get(2, "key"), Some("changed".to_owned()));
    // A member that has joined restarts from its data and ignores these flags.
    cluster.members[2].stop();
    cluster.members[2].set_initial_cluster(&[]);
    cluster.members[2].start();
    assert_eq!(cluster.get(2, "key"), Some("changed".to_owned()));
}

#[test]
fn only_an_added_member_joins() {
    let mut cluster = cluster(1);
    let place = cluster.add(0);
    let m1 = cluster.members[0].peer_url();
    let m2 = cluster.members[place].peer_url();
    let existing = "--initial-cluster-state=existing";
    for (listed, text) in [
        (format!("m1={m1},m2={m2},m3=http://127.0.0.1:1"), "member count is unequal"),
        (format!("m1={m1},m2=http://127.0.0.1:1"), "no match found for existing member"),
        (format!("m1={m1}"), "does not name this member"),
        (format!("m2={m2}"), "names no other member"),
        (format!("m1={m2},m2={m2}"), "duplicate url"),
    ] {
        let listed = format!("--initial-cluster={listed}");
        cluster.members[place].set_initial_cluster(&[&listed, existing]);
        assert_contains(&refusal(&mut cluster.members[place]), &[text]);
    }
    let listed = format!("--initial-cluster=m1={m1},m2={m2}");
    cluster.members[place].set_initial_cluster(&[&listed, existing]);
    cluster.members[place].start();
    // The added member has been started: without its data, it cannot join again.
    cluster.members[place].kill();
    wipe(&cluster.members[place]);
    let said = refusal(&mut cluster.members[place]);
    assert_contains(&said, &["has already been bootstrapped", "member add m2"]);
}

#[test]
fn a_member_does_not_join_when_no_other_answers() {
    let mut cluster = Cluster::new(&program::quorate(), 2, &[]);
    let listed = format!("--initial-cluster={}", cluster.initial_cluster());
    cluster.members[1].set_initial_cluster(&[&listed, "--initial-cluster-state=existing"]);
    let said = refusal(&mut cluster.members[1]);
    let url = cluster.members[0].peer_url();
    assert_contains(&said, &["cannot fetch cluster info from peer urls", &url]);
}
