//! `--force-new-cluster`: one member continues when the others are lost.

use quorate_test_support::server::Server;
use quorate_test_support::{assert_contains, program};

use crate::{assert_ended, cluster};

const FORCED: &str = "--force-new-cluster";

#[test]
fn one_member_continues_with_the_data() {
    let mut cluster = cluster(3);
    for number in 0..100 {
        cluster.put(number % 3, &format!("key{number}"), "value");
    }
    cluster.kill();
    cluster.members[1].add_flags(&[FORCED]);
    cluster.members[1].start();
    let known = cluster.list(1);
    assert_eq!(known.len(), 1, "{known:?}");
    assert_eq!(known[0].peer_urls, [cluster.members[1].peer_url()]);
    for number in 0..100 {
        assert_eq!(cluster.get(1, &format!("key{number}")), Some("value".to_owned()));
    }
    cluster.put(1, "key", "later");
    // The other members, once started, learn that they were removed, although they are two of
    // three.
    for place in [0, 2] {
        cluster.members[place].spawn();
    }
    for place in [0, 2] {
        let lost = &mut cluster.members[place];
        assert_ended(lost, Some("removed"));
        assert_contains(&lost.log_of_run(), &["permanently removed"]);
    }
    // The member restarts without the flag, and its cluster can grow again.
    cluster.members[1].stop();
    cluster.members[1].remove_flags(&[FORCED]);
    cluster.members[1].start();
    let place = cluster.add(1);
    cluster.members[place].start();
    assert_eq!(cluster.get(place, "key"), Some("later".to_owned()));
    assert_eq!(cluster.list(place).len(), 2);
}

#[test]
fn acknowledged_writes_stay_without_a_stored_commit_index() {
    let mut cluster = cluster(1);
    cluster.put(0, "key", "value");
    cluster.kill();
    cluster.members[0].add_flags(&[FORCED]);
    for _ in 0..3 {
        cluster.members[0].start();
        assert_eq!(cluster.get(0, "key"), Some("value".to_owned()));
        assert_eq!(cluster.list(0).len(), 1);
        cluster.put(0, "key", "value");
        cluster.kill();
    }
}

#[test]
fn the_flag_is_ignored_at_a_first_start() {
    let server = Server::start_new(&program::quorate(), &[FORCED]);
    assert_contains(&server.log(), &["--force-new-cluster is ignored"]);
}
