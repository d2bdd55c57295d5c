//! Elections, without observers.

use bytes::Bytes;
use quorate_proto::v3electionpb::{
    CampaignRequest, LeaderKey, LeaderRequest, ProclaimRequest, ResignRequest,
};

use super::clients::{Clients, Waiting, compare};

pub(crate) fn campaign(name: &str, lease: i64, value: &str) -> CampaignRequest {
    let value = value.to_owned().into();
    CampaignRequest { name: name.to_owned().into(), lease, value }
}

/// The leader with this key, as a campaign that won at `rev` tells it.
pub(crate) fn leader(key: &str, rev: i64, lease: i64) -> LeaderKey {
    LeaderKey { name: Bytes::from_static(b"a"), key: key.to_owned().into(), rev, lease }
}

async fn tell_leader(clients: &mut Clients, name: &str) {
    let answer = clients.election.leader(LeaderRequest { name: name.to_owned().into() }).await;
    clients.tell(&format!("the leader of {name}"), answer);
}

#[test]
fn the_leader_is_told_as_by_etcd() {
    compare("leaders", async |clients| {
        clients.grant(0xabc, 600).await;
        tell_leader(clients, "a").await;
        tell_leader(clients, "").await;
        let calls = [
            ("first", campaign("a", 0xabc, "v")),
            ("the same again", campaign("a", 0xabc, "v")),
            ("with another value", campaign("a", 0xabc, "w")),
            ("an empty name and value", campaign("", 0xabc, "")),
            ("no such lease", campaign("b", 77, "v")),
            ("a negative lease", campaign("b", -77, "v")),
        ];
        for (what, request) in calls {
            let answer = clients.election.campaign(request).await;
            clients.tell(what, answer);
            tell_leader(clients, "a").await;
        }
        tell_leader(clients, "").await;
        clients.tell_keys("a/").await;
    });
}

#[test]
fn proclamations_and_resignations_are_answered_as_by_etcd() {
    compare("proclamations", async |clients| {
        clients.grant(1, 600).await;
        clients.grant(2, 600).await;
        let won = clients.election.campaign(campaign("a", 1, "v")).await.unwrap().into_inner();
        let right = won.leader.clone().unwrap();
        clients.tell("won", Ok(tonic::Response::new(won)));
        let LeaderKey { rev, .. } = right;
        let leaders = [
            ("the leader", Some(right)),
            ("no leader", None),
            ("another key", Some(leader("a/2", rev, 2))),
            ("another revision", Some(leader("a/1", rev + 1, 1))),
            ("no key", Some(leader("", rev, 1))),
            ("no revision", Some(leader("a/1", 0, 1))),
            ("no such lease", Some(leader("a/1", rev, 77))),
            ("another lease", Some(leader("a/1", rev, 2))),
            ("the wrong name", Some(LeaderKey { name: "b".into(), ..leader("a/1", rev, 1) })),
            ("a key that does not exist", Some(leader("b/1", 0, 1))),
        ];
        for (what, leader) in leaders.clone() {
            let value = what.into();
            let answer = clients.election.proclaim(ProclaimRequest { leader, value }).await;
            clients.tell(&format!("proclaim, {what}"), answer);
            tell_leader(clients, "a").await;
        }
        for (what, leader) in leaders.into_iter().rev() {
            let answer = clients.election.resign(ResignRequest { leader }).await;
            clients.tell(&format!("resign, {what}"), answer);
            clients.tell_keys("a/").await;
        }
        tell_leader(clients, "a").await;
    });
}

#[test]
fn candidates_follow_each_other_as_in_etcd() {
    compare("candidates", async |clients| {
        for lease in 1..=3 {
            clients.grant(lease, 600).await;
        }
        let won = clients.election.campaign(campaign("a", 1, "v")).await.unwrap().into_inner();
        let first = won.leader.clone();
        let mut waiting = Vec::new();
        for lease in 2..=3 {
            let mut client = clients.election.clone();
            let request = campaign("a", lease, "w");
            waiting.push(Waiting::start(async move { client.campaign(request).await }));
            clients.await_keys("a/", lease).await;
        }
        let [second, third] = waiting.try_into().ok().unwrap();
        tell_leader(clients, "a").await;
        let answer = clients.election.resign(ResignRequest { leader: first }).await;
        clients.tell("resign", answer);
        clients.tell_end("the second", second).await;
        tell_leader(clients, "a").await;
        clients.revoke(2).await;
        clients.tell_end("the third", third).await;
        tell_leader(clients, "a").await;
    });
}
