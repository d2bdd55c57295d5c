//! Messages between members may be larger than messages of unknown callers.

use std::time::Duration;

use quorate_test_support::cluster::Cluster;
use quorate_test_support::{program, wait};

/// How long a member may take to catch up.
const PATIENCE: Duration = Duration::from_secs(30);

/// As forwarded proposals, as log entries, and as rows of a snapshot.
#[test]
fn large_requests_reach_all_members() {
    let flags = ["--max-request-bytes=31457280", "--snapshot-catchup-entries=0"];
    let mut cluster = Cluster::start_new(&program::quorate(), 3, &flags);
    let value = "v".repeat(20_000_000);
    (0..3).for_each(|member| cluster.put(member, &format!("before{member}"), &value));
    cluster.members[2].kill();
    (0..4).for_each(|round| cluster.put(round % 2, &format!("during{round}"), &value));
    cluster.members[2].start();
    let index = cluster.status(0).raft_index;
    wait::until("it has what it missed", PATIENCE, || {
        let status = cluster.try_status(2)?;
        (status.raft_applied_index >= index).then_some(())
    });
    cluster.put(2, "after", &value);
}
