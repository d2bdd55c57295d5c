//! Members of an earlier version and of today's form one cluster: under load they lose nothing,
//! whichever leads, and either takes the other's snapshots and data directory.

use std::path::{Path, PathBuf};

use quorate_test_chaos::live::{AddAs, LiveCluster};
use quorate_test_chaos::seed::Seed;
use quorate_test_support::metrics::samples;
use quorate_test_support::program;

/// The commit of the earlier version. Once there are releases, it is the one of the last release.
const EARLIER: &str = "919c2e178aee5a0a75098b608e648256248f247d";
/// Members of each cluster.
const SIZE: usize = 3;
/// Writes between one change and the next.
const WRITES: usize = 300;
/// How many times a snapshot is requested from the intended member: another one may lead by then.
const ATTEMPTS: usize = 3;
/// The metric that counts received snapshots.
const SNAPSHOTS: &str = "etcd_network_snapshot_receive_success";

/// The two versions.
struct Versions {
    earlier: PathBuf,
    today: PathBuf,
}

impl Versions {
    /// `None`, reported as a skip, if the earlier version cannot be built here.
    fn new(suite: &str) -> Option<Self> {
        Some(Self { earlier: program::earlier(suite, EARLIER)?, today: program::quorate() })
    }

    /// A cluster of the earlier version under load, whose log no longer starts at its first entry.
    fn cluster(&self, test: &str) -> LiveCluster {
        let seed = Seed::choose();
        eprintln!("{test}, again: {}", seed.replay(["versions", test], "QUORATE_REQUIRE", "all"));
        let mut live = LiveCluster::new(&self.earlier, SIZE, seed);
        live.fill_log();
        live.start_clients();
        live.await_writes(WRITES);
        live
    }

    /// Restarts a member as today's version or as the earlier one, on the same data.
    fn change(&self, live: &mut LiveCluster, place: usize, is_today: bool) {
        live.stop(place);
        live.set_program(place, self.program(is_today));
        live.restart(place);
        let page = live.page(place, "/version");
        assert_eq!(page.contains("dataFormat"), is_today, "member {place} runs it: {page}");
        live.await_writes(WRITES);
    }

    /// Replaces the member at `to` by a new one of this version, which needs a snapshot, while the
    /// member at `from` leads.
    ///
    /// # Panics
    /// If the new member gets no snapshot from it.
    fn send_snapshot(&self, live: &mut LiveCluster, from: usize, to: usize, is_today: bool) {
        for _ in 0..ATTEMPTS {
            // A removed member must be today's: an earlier one ends with another status.
            self.change(live, to, true);
            live.lead(from);
            live.await_writes(WRITES);
            live.set_program(to, self.program(is_today));
            live.replace_member(to, AddAs::Learner);
            live.await_writes(WRITES);
            if received(live, to, live.member_id(from)) {
                return;
            }
        }
        panic!("member {to} got no snapshot from member {from}");
    }

    fn program(&self, is_today: bool) -> &Path {
        if is_today { &self.today } else { &self.earlier }
    }
}

/// Ends the load and checks the history of the clients and the watches, and the data of each
/// member.
fn check(mut live: LiveCluster, test: &str) {
    live.stop_clients();
    eprintln!("{test}: {}", live.tally());
}

/// Whether the member at `place` received a snapshot from the member with this id.
fn received(live: &LiveCluster, place: usize, from: u64) -> bool {
    let from = format!("{from:x}");
    let samples = samples(&live.page(place, "/metrics"));
    samples.iter().any(|one| one.name == SNAPSHOTS && one.labels["From"] == from)
}

#[test]
fn members_are_upgraded_one_by_one() {
    const TEST: &str = "members_are_upgraded_one_by_one";
    let Some(versions) = Versions::new("upgrade from an earlier version") else { return };
    let mut live = versions.cluster(TEST);
    for place in live.places() {
        versions.change(&mut live, place, true);
    }
    check(live, TEST);
}

#[test]
fn two_versions_work_together() {
    const TEST: &str = "two_versions_work_together";
    let Some(versions) = Versions::new("members of two versions") else { return };
    let mut live = versions.cluster(TEST);
    let [today, earlier, other] = [0, 1, 2];
    versions.send_snapshot(&mut live, earlier, today, true);
    versions.send_snapshot(&mut live, today, other, false);
    // Back to the earlier version, on data that today's version has written.
    versions.change(&mut live, today, false);
    check(live, TEST);
}
