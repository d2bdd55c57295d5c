//! Observers of elections.

use std::time::Duration;

use prost::Message as _;
use quorate_proto::etcdserverpb as pb;
use quorate_proto::v3electionpb::{LeaderRequest, LeaderResponse, ProclaimRequest, ResignRequest};
use quorate_test_conformance::raw::{Call, Connection, frame};
use quorate_test_support::server::Server;
use quorate_test_support::{block_on, program};
use tonic::Streaming;

use super::clients::{Clients, compare};
use super::elections::{campaign, leader};

/// How long an observer may be without a message that is due.
const WITHIN: Duration = Duration::from_secs(30);

async fn observe(clients: &Clients) -> Streaming<LeaderResponse> {
    let request = LeaderRequest { name: "a".into() };
    clients.election.clone().observe(request).await.unwrap().into_inner()
}

/// Starts a call without waiting for its answer.
async fn start(connection: &Connection) -> Call {
    let request = frame(&LeaderRequest { name: "a".into() }.encode_to_vec());
    let path = "/v3electionpb.Election/Observe";
    connection.start(Connection::request(path), request, true).await
}

/// Notes the next message.
async fn tell_next(clients: &mut Clients, what: &str, stream: &mut Streaming<LeaderResponse>) {
    let next = tokio::time::timeout(WITHIN, stream.message()).await;
    let next = next.unwrap_or_else(|_| panic!("{what}: no message"));
    clients.tell(what, next.map(tonic::Response::new));
}

async fn proclaim(clients: &mut Clients, rev: i64, value: &str) {
    let leader = Some(leader("a/1", rev, 1));
    let request = ProclaimRequest { leader, value: value.to_owned().into() };
    clients.election.proclaim(request).await.unwrap();
}

async fn compact(clients: &mut Clients) {
    let now = clients.kv.range(pb::RangeRequest { key: "x".into(), ..Default::default() }).await;
    let revision = now.unwrap().into_inner().header.unwrap().revision;
    let request = pb::CompactionRequest { revision, physical: true };
    clients.kv.compact(request).await.unwrap();
}

#[test]
fn observers_are_told_as_by_etcd() {
    compare("observers", async |clients| {
        clients.grant(1, 600).await;
        clients.grant(2, 600).await;
        let won = clients.election.campaign(campaign("a", 1, "v")).await.unwrap().into_inner();
        let rev = won.leader.clone().unwrap().rev;
        let mut stream = observe(clients).await;
        tell_next(clients, "the leader", &mut stream).await;
        for value in ["1", "2", ""] {
            proclaim(clients, rev, value).await;
            tell_next(clients, value, &mut stream).await;
        }
        clients.put("other", "x").await;
        compact(clients).await;
        proclaim(clients, rev, "after a compaction").await;
        tell_next(clients, "after a compaction", &mut stream).await;
        // The next candidate is there when the leader resigns.
        clients.put("a/2", "w").await;
        clients.election.resign(ResignRequest { leader: won.leader }).await.unwrap();
        tell_next(clients, "the next leader", &mut stream).await;
        clients.put("a/2", "w2").await;
        tell_next(clients, "its value", &mut stream).await;
        let mut late = observe(clients).await;
        tell_next(clients, "a late observer", &mut late).await;
    });
}

#[test]
fn observers_wait_for_the_first_leader_as_in_etcd() {
    compare("observers before a leader", async |clients| {
        clients.grant(1, 600).await;
        // etcd answers the call with the first message only.
        let connection = Connection::open(&clients.address).await;
        let mut call = start(&connection).await;
        clients.await_watcher().await;
        clients.put("a0", "no claim").await;
        for round in ["first", "second"] {
            clients.election.campaign(campaign("a", 1, round)).await.unwrap();
            let told = tokio::time::timeout(WITHIN, call.wait_for_messages(1)).await;
            assert_eq!(told, Ok(true), "{round}: {:?}", call.so_far());
            let told = LeaderResponse::decode(call.take_messages().remove(0)).unwrap();
            clients.tell(round, Ok(tonic::Response::new(told)));
            clients.delete("a/1").await;
        }
    });
}

/// The events that such an observer has not read are compacted, so it is told the latest value.
#[test]
fn an_observer_that_reads_late_survives_a_compaction() {
    let server = Server::start_new(&program::quorate(), &[]);
    block_on(async {
        let mut clients = Clients::new(&server.url());
        clients.grant(1, 600).await;
        let won = clients.election.campaign(campaign("a", 1, "v")).await.unwrap().into_inner();
        let rev = won.leader.unwrap().rev;
        let connection = Connection::open_with_windows(&server.address(), 1 << 10, 1 << 16).await;
        let mut call = start(&connection).await;
        assert!(call.wait_for_messages(1).await);
        // More than a stream's queue has room for.
        let value = "x".repeat(100 << 10);
        for _ in 0..100 {
            proclaim(&mut clients, rev, &value).await;
        }
        compact(&mut clients).await;
        proclaim(&mut clients, rev, "the last one").await;
        let mut told = Vec::new();
        let last = async {
            while told.last().is_none_or(|value| value != "the last one") {
                assert!(call.wait_for_messages(1).await, "{:?}", call.so_far());
                let messages = call.take_messages().into_iter();
                told.extend(
                    messages
                        .map(|message| LeaderResponse::decode(message).unwrap().kv.unwrap().value),
                );
            }
        };
        tokio::time::timeout(WITHIN, last).await.unwrap();
        assert!(told.len() < 102, "nothing was compacted before it was told");
    });
}
