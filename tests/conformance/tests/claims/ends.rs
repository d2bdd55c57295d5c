//! Calls that end before their turn.

use std::time::Duration;

use quorate_proto::v3electionpb::CampaignRequest;
use quorate_proto::v3lockpb::{LockRequest, UnlockRequest};
use quorate_test_conformance::server_pair::ServerPair;
use quorate_test_support::block_on;
use tonic::Request;

use super::clients::{Clients, Waiting, compare};

/// The name of the lock and of the election.
const NAME: &str = "a";

fn lock(clients: &Clients, lease: i64) -> Waiting {
    let mut client = clients.lock.clone();
    Waiting::start(async move { client.lock(LockRequest { name: NAME.into(), lease }).await })
}

fn campaign(clients: &Clients, lease: i64) -> Waiting {
    let mut client = clients.election.clone();
    let request = CampaignRequest { name: NAME.into(), lease, value: "v".into() };
    Waiting::start(async move { client.campaign(request).await })
}

/// Grants four leases; the first one owns the lock.
async fn owned(clients: &mut Clients) {
    for lease in 1..=4 {
        clients.grant(lease, 600).await;
    }
    clients.tell_end("the owner", lock(clients, 1)).await;
}

async fn unlock(clients: &mut Clients, key: &str) {
    clients.lock.unlock(UnlockRequest { key: key.to_owned().into() }).await.unwrap();
}

#[test]
fn a_call_whose_client_is_gone_withdraws_its_claim_as_in_etcd() {
    compare("calls of clients that are gone", async |clients| {
        owned(clients).await;
        for call in [lock, campaign] {
            let waiting = call(clients, 2);
            clients.await_keys("a/", 2).await;
            drop(waiting);
            clients.await_keys("a/", 1).await;
        }
        clients.tell_keys("a/").await;
    });
}

#[test]
fn a_call_whose_deadline_passes_withdraws_its_claim_as_in_etcd() {
    compare("calls whose deadline passes", async |clients| {
        owned(clients).await;
        let mut request = Request::new(LockRequest { name: NAME.into(), lease: 2 });
        request.set_timeout(Duration::from_millis(500));
        // The client or the server ends the call first.
        assert!(clients.lock.lock(request).await.is_err());
        clients.await_keys("a/", 1).await;
        clients.tell_keys("a/").await;
    });
}

#[test]
fn a_lock_whose_lease_has_ended_meanwhile_fails_as_in_etcd() {
    compare("locks whose lease ends", async |clients| {
        owned(clients).await;
        let waiting = lock(clients, 2);
        clients.await_keys("a/", 2).await;
        clients.revoke(2).await;
        unlock(clients, "a/1").await;
        clients.tell_end("the second", waiting).await;
        clients.tell_keys("a/").await;
    });
}

#[test]
fn a_candidate_whose_lease_has_ended_meanwhile_does_not_lead() {
    let Some(mut pair) = ServerPair::start("candidates whose lease ends", &[]) else { return };
    let ends = pair.both().map(|(_, server)| {
        block_on(async {
            let mut clients = Clients::new(&server.url());
            owned(&mut clients).await;
            let mut election = clients.election.clone();
            let value = "v".into();
            let request = CampaignRequest { name: NAME.into(), lease: 2, value };
            let campaign = async { election.campaign(request).await };
            let end = async {
                clients.await_keys("a/", 2).await;
                clients.revoke(2).await;
                unlock(&mut clients, "a/1").await;
            };
            let (answer, ()) = tokio::join!(campaign, end);
            answer.map(|_| ()).map_err(|status| (status.code(), status.message().to_owned()))
        })
    });
    pair.assert_sound();
    // etcd tells such a candidate that it leads.
    let [ours, theirs] = ends;
    assert_eq!(ours, Err((tonic::Code::Unknown, "election: not leader".to_owned())));
    assert_eq!(theirs, Ok(()));
}
