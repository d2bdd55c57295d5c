//! Founding through a discovery service.

use std::path::Path;
use std::time::Duration;

use quorate_proto::etcdserverpb as pb;
use quorate_proto::etcdserverpb::kv_client::KvClient;
use quorate_test_support::cluster::Cluster;
use quorate_test_support::server::Server;
use quorate_test_support::{assert_contains, program, wait};

use crate::{refusal, wipe};

const TOKEN: &str = "2d11f43b";
/// How long a founder may take to log its state.
const SAID_WITHIN: Duration = Duration::from_secs(60);

/// A one-member discovery service, and the founders that use it.
struct Meeting {
    service: Cluster,
    founders: Cluster,
}

impl Meeting {
    fn new(service: &Path, founders: usize) -> Self {
        let service = Cluster::start_new(service, 1, &[]);
        let founders = Cluster::new(&program::quorate(), founders, &[]);
        let mut meeting = Self { service, founders };
        let endpoint = meeting.service.members[0].address();
        for founder in &mut meeting.founders.members {
            // Nothing listens on the first endpoint.
            let endpoints = format!("--discovery-endpoints=http://127.0.0.1:1,{endpoint}");
            founder.set_initial_cluster(&[&format!("--discovery-token={TOKEN}"), &endpoints]);
        }
        meeting
    }

    fn set_size(&self, size: &str) {
        self.service.put(0, &format!("/_etcd/registry/{TOKEN}/_config/size"), size);
    }

    fn registered(&self) -> Vec<String> {
        let request = pb::RangeRequest {
            key: format!("/_etcd/registry/{TOKEN}/members/").into(),
            range_end: format!("/_etcd/registry/{TOKEN}/members0").into(),
            ..Default::default()
        };
        let client = KvClient::new(self.service.channel(0));
        let asked = async || client.clone().range(request.clone()).await;
        let kvs = self.service.retry("range", asked).into_inner().kvs;
        kvs.iter().map(|kv| String::from_utf8_lossy(&kv.value).into_owned()).collect()
    }
}

fn waits(founder: &Server) {
    let says = || founder.log_of_run().contains("waiting for founders").then_some(());
    wait::until("a founder waits for others", SAID_WITHIN, says);
}

fn founders_meet(service: &Path) {
    let mut meeting = Meeting::new(service, 4);
    let late = meeting.founders.members.pop().unwrap();
    assert_contains(&refusal(&mut meeting.founders.members[0]), &["discovery: size key not found"]);
    meeting.set_size("three");
    assert_contains(&refusal(&mut meeting.founders.members[0]), &["discovery: size key is bad"]);
    meeting.set_size("3");
    // One founder is killed while it waits, and restarted.
    meeting.founders.members[0].spawn();
    waits(&meeting.founders.members[0]);
    meeting.founders.members[0].kill();
    meeting.founders.start();
    meeting.founders.put(0, "key", "value");
    assert_eq!(meeting.founders.get(2, "key"), Some("value".to_owned()));
    assert_eq!(meeting.founders.list(1).len(), 3);
    let mut expected: Vec<String> =
        meeting.founders.initial_cluster().split(',').map(str::to_owned).collect();
    let mut registered = meeting.registered();
    expected.sort();
    registered.sort();
    assert_eq!(registered, expected);
    // A founder that is too late is refused before it registers.
    let mut late = late;
    assert_contains(&refusal(&mut late), &["discovery: cluster is full", "needs a new token"]);
    assert_eq!(meeting.registered().len(), 3);
    // A restart does not ask the service. The other members refuse one that lost its data.
    meeting.service.stop();
    meeting.founders.stop();
    meeting.founders.start();
    assert_eq!(meeting.founders.get(0, "key"), Some("value".to_owned()));
    meeting.service.start();
    meeting.founders.members[2].kill();
    wipe(&meeting.founders.members[2]);
    let said = refusal(&mut meeting.founders.members[2]);
    assert_contains(&said, &["has already been bootstrapped"]);
}

#[test]
fn members_are_discovered_through_quorate() {
    founders_meet(&program::quorate());
}

#[test]
fn members_are_discovered_through_etcd() {
    if let Some(etcd) = program::etcd("discovery at etcd", "etcd-3.7") {
        founders_meet(&etcd);
    }
}

#[test]
fn a_new_member_waits_for_the_discovery_service() {
    let mut meeting = Meeting::new(&program::quorate(), 1);
    meeting.set_size("1");
    meeting.service.stop();
    let founder = &mut meeting.founders.members[0];
    founder.spawn();
    let says = || founder.log_of_run().contains("does not answer").then_some(());
    wait::until("the founder notices", SAID_WITHIN, says);
    meeting.service.start();
    meeting.founders.members[0].wait_until_ready();
}
