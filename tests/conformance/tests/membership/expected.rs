//! Changes that name the configuration index that they expect.

use std::time::Duration;

use quorate_proto::etcdserverpb as pb;
use quorate_proto::etcdserverpb::cluster_client::ClusterClient;
use quorate_test_support::cluster::Cluster;
use quorate_test_support::{program, wait};
use tokio::task::JoinSet;
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status};

const CONFIGURATION: &str = "quorate-configuration";
const EXPECTED: &str = "quorate-expected-configuration";
/// How long the members may take to agree on the index.
const WITHIN: Duration = Duration::from_secs(30);
const CHANGED: &str = "etcdserver: the configuration of the members is not the expected one";
const BAD: &str = "etcdserver: the expected configuration must be one decimal number";
/// Operators that make a change at the same time.
const OPERATORS: u16 = 8;

/// A change of the members.
#[derive(Clone, Debug)]
enum Change {
    Add(pb::MemberAddRequest),
    Remove(u64),
    Update(u64, u16),
    Promote(u64),
}

fn url(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}

fn learner(port: u16) -> Change {
    Change::Add(pb::MemberAddRequest { peer_urls: vec![url(port)], is_learner: true })
}

fn expecting<T>(message: T, expected: &str) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert(EXPECTED, expected.parse().unwrap());
    request
}

/// The configuration index of an answer.
fn index_of<T>(answer: &Response<T>) -> u64 {
    let index = answer.metadata().get(CONFIGURATION).expect("every answer has an index");
    index.to_str().unwrap().parse().unwrap()
}

/// Makes a change; returns the configuration index of the answer.
async fn make(channel: Channel, change: Change, expected: &str) -> Result<u64, Status> {
    let mut client = ClusterClient::new(channel);
    match change {
        Change::Add(add) => client.member_add(expecting(add, expected)).await.map(|a| index_of(&a)),
        Change::Remove(id) => {
            let remove = pb::MemberRemoveRequest { id };
            client.member_remove(expecting(remove, expected)).await.map(|a| index_of(&a))
        }
        Change::Update(id, port) => {
            let update = pb::MemberUpdateRequest { id, peer_urls: vec![url(port)] };
            client.member_update(expecting(update, expected)).await.map(|a| index_of(&a))
        }
        Change::Promote(id) => {
            let promote = pb::MemberPromoteRequest { id };
            client.member_promote(expecting(promote, expected)).await.map(|a| index_of(&a))
        }
    }
}

fn started() -> Cluster {
    Cluster::start_new(&program::quorate(), 3, &[])
}

/// The members and the configuration index that a member lists.
fn listed(cluster: &Cluster, place: usize) -> (Vec<pb::Member>, u64) {
    let request = pb::MemberListRequest { linearizable: true };
    let client = ClusterClient::new(cluster.channel(place));
    let answer = cluster.retry("list", async || client.clone().member_list(request).await);
    let index = index_of(&answer);
    (answer.into_inner().members, index)
}

/// The index that all founders list.
fn common_index(cluster: &Cluster) -> u64 {
    wait::until("all members list one index", WITHIN, || {
        let indexes = [0, 1, 2].map(|place| listed(cluster, place).1);
        (indexes == [indexes[0]; 3]).then_some(indexes[0])
    })
}

/// Makes a change with the present index as the expected one, once the cluster allows it. Returns
/// the index of the answer.
fn make_in_time(cluster: &Cluster, by: usize, change: &Change) -> u64 {
    wait::until("the change is made", WITHIN, || {
        let expected = common_index(cluster).to_string();
        let made = cluster.block_on(make(cluster.channel(by), change.clone(), &expected));
        made.ok()
    })
}

#[test]
fn every_change_has_a_higher_index_that_all_members_know() {
    let mut cluster = started();
    let leader = cluster.leader().0;
    let follower = (leader + 1) % 3;
    let place = cluster.new_place();
    let peer_urls = vec![cluster.members[place].peer_url()];
    let added = Change::Add(pb::MemberAddRequest { peer_urls, is_learner: true });
    let mut last = listed(&cluster, leader).1;
    let mut made = |cluster: &Cluster, by, change: &Change| {
        let index = make_in_time(cluster, by, change);
        assert!(index > last, "{change:?}: {index} after {last}");
        last = index;
    };
    made(&cluster, follower, &added);
    cluster.add_learner(leader, place);
    cluster.members[place].start();
    let id = cluster.member_id(place);
    made(&cluster, follower, &Change::Promote(id));
    cluster.members[follower].stop();
    cluster.members[follower].start();
    made(&cluster, follower, &Change::Remove(id));
    cluster.members[place].wait_for_end();
    cluster.members.pop();
    made(&cluster, leader, &learner(1));
    let known = listed(&cluster, leader).0;
    let id = known.iter().find(|member| member.is_learner).unwrap().id;
    made(&cluster, leader, &Change::Update(id, 2));
    made(&cluster, follower, &Change::Update(id, 2));
    made(&cluster, follower, &Change::Remove(id));
    // An entry that does not change the members has no index of the configuration.
    cluster.put(follower, "key", "value");
    cluster.stop();
    cluster.start();
    assert_eq!(common_index(&cluster), listed(&cluster, 0).1);
}

#[test]
fn another_configuration_than_the_expected_one_is_refused() {
    let cluster = started();
    let leader = cluster.leader().0;
    let first = common_index(&cluster);
    make_in_time(&cluster, leader, &learner(1));
    let (members, now) = listed(&cluster, leader);
    let id = members.iter().find(|member| member.is_learner).unwrap().id;
    let changes = [learner(2), Change::Update(id, 2), Change::Promote(id), Change::Remove(id)];
    let refusals = [
        (first.to_string(), Code::FailedPrecondition, CHANGED),
        ((now + 1).to_string(), Code::FailedPrecondition, CHANGED),
        (u64::MAX.to_string(), Code::FailedPrecondition, CHANGED),
        ("+1".to_owned(), Code::InvalidArgument, BAD),
        ("".to_owned(), Code::InvalidArgument, BAD),
    ];
    for by in 0..3 {
        for change in &changes {
            for (expected, code, text) in &refusals {
                let made = make(cluster.channel(by), change.clone(), expected);
                let refused = cluster.block_on(made).unwrap_err();
                assert_eq!((refused.code(), refused.message()), (*code, *text), "{change:?}");
            }
        }
    }
    assert_eq!(listed(&cluster, leader), (members, now));
}

/// Makes a change by many operators at the same time, each through any member. Returns how many
/// succeeded, and the refusals of the others.
fn race(cluster: &Cluster, id: u64, round: u16) -> (usize, Vec<Status>) {
    let expected = common_index(cluster).to_string();
    let ended = cluster.block_on(async {
        let mut operators = JoinSet::new();
        for operator in 0..OPERATORS {
            let channel = cluster.channel(usize::from(operator) % 3);
            let expected = expected.clone();
            let change = Change::Update(id, 1 + round * OPERATORS + operator);
            operators.spawn(async move { make(channel, change, &expected).await });
        }
        operators.join_all().await
    });
    let (made, refused): (Vec<_>, Vec<_>) = ended.into_iter().partition(Result::is_ok);
    (made.len(), refused.into_iter().filter_map(Result::err).collect())
}

#[test]
fn one_of_many_operators_with_one_expectation_succeeds() {
    let cluster = started();
    make_in_time(&cluster, 0, &learner(1));
    let known = listed(&cluster, 0).0;
    let id = known.iter().find(|member| member.is_learner).unwrap().id;
    for round in 0..10 {
        let (made, refused) = race(&cluster, id, round);
        assert_eq!(made, 1, "{refused:?}");
        for refused in refused {
            assert_eq!((refused.code(), refused.message()), (Code::FailedPrecondition, CHANGED));
        }
    }
    // With another leader in between, all may fail, but never two succeed.
    for round in 10..20 {
        let next = (cluster.leader().0 + 1) % 3;
        let (made, refused) = std::thread::scope(|scope| {
            let racing = scope.spawn(|| race(&cluster, id, round));
            cluster.move_leader(next);
            racing.join().unwrap()
        });
        assert!(made <= 1, "{made} succeeded; {refused:?}");
    }
}
