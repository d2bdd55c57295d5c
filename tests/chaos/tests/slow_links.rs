//! Members with slow links: a round trip takes longer than the heartbeat interval.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use quorate_test_support::cluster::Cluster;
use quorate_test_support::program;
use quorate_test_support::proxy::ProxyMode;

/// The number of members.
const SIZE: usize = 3;
/// The one-way delay between members: a round trip takes longer than the heartbeat interval of 100
/// ms.
const DELAY: Duration = Duration::from_millis(75);
/// Writes through each member.
const WRITES: usize = 4;

fn write_everywhere(cluster: &Cluster, places: &[usize], name: &str) {
    for number in 0..WRITES {
        for place in places {
            let key = format!("{name} {number} by {place}");
            cluster.put(*place, &key, name);
            assert_eq!(cluster.get(*place, &key).as_deref(), Some(name));
        }
    }
}

#[test]
fn members_with_slow_links_serve_and_elect() {
    let mut cluster = Cluster::behind_proxies(&program::quorate(), SIZE, &[], true, 1);
    cluster.start();
    (0..SIZE).for_each(|place| cluster.proxies().set(place, ProxyMode::Delay(DELAY, DELAY)));
    let (leader, term) = cluster.leader();
    write_everywhere(&cluster, &[0, 1, 2], "first");
    assert_eq!(cluster.leader(), (leader, term), "slow links must not cause an election");
    cluster.members[leader].kill();
    let others: Vec<usize> = (0..SIZE).filter(|place| *place != leader).collect();
    write_everywhere(&cluster, &others, "later");
    let (successor, later) = cluster.leader();
    assert!(successor != leader && later > term);
    write_everywhere(&cluster, &others, "last");
    assert_eq!(cluster.leader(), (successor, later));
}
