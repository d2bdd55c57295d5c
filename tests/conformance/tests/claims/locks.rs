//! Locks.

use bytes::Bytes;
use quorate_proto::etcdserverpb as pb;
use quorate_proto::v3lockpb::{LockRequest, UnlockRequest};

use super::clients::{Clients, Waiting, compare};

fn lock(name: impl Into<Bytes>, lease: i64) -> LockRequest {
    LockRequest { name: name.into(), lease }
}

fn start(clients: &Clients, request: LockRequest) -> Waiting {
    let mut client = clients.lock.clone();
    Waiting::start(async move { client.lock(request).await })
}

async fn unlock(clients: &mut Clients, key: &str) {
    let answer = clients.lock.unlock(UnlockRequest { key: key.to_owned().into() }).await;
    clients.tell(&format!("unlock {key}"), answer);
}

#[test]
fn free_locks_and_bad_calls_are_answered_as_by_etcd() {
    compare("locks", async |clients| {
        clients.grant(0xabc, 600).await;
        let long = vec![b'n'; 3000];
        let calls = [
            ("a lock", lock("a", 0xabc)),
            ("the same lock again", lock("a", 0xabc)),
            ("an empty name", lock("", 0xabc)),
            ("bytes", lock([0, 0xff, b'/', b'x'].to_vec(), 0xabc)),
            ("a long name", lock(long, 0xabc)),
            ("no such lease", lock("b", 77)),
            ("a negative lease", lock("b", -77)),
        ];
        for (what, request) in calls {
            let answer = clients.lock.lock(request).await;
            clients.tell(what, answer);
        }
        clients.tell_keys("a").await;
        clients.tell_keys("/").await;
        for key in ["a/abc", "a/abc", "", "b"] {
            unlock(clients, key).await;
        }
        clients.put("text", "").await;
        unlock(clients, "text").await;
        clients.tell_keys("a").await;
    });
}

#[test]
fn a_call_without_a_lease_gets_one_of_a_minute() {
    compare("locks without a lease", async |clients| {
        let answer = clients.lock.lock(lock("a", 0)).await.unwrap().into_inner();
        let key = String::from_utf8(answer.key.to_vec()).unwrap();
        let lease = i64::from_str_radix(key.strip_prefix("a/").unwrap(), 16).unwrap();
        let request = pb::LeaseTimeToLiveRequest { id: lease, keys: true };
        let lease = clients.lease.lease_time_to_live(request).await.unwrap().into_inner();
        assert_eq!((lease.granted_ttl, lease.keys), (60, vec![answer.key]));
        clients.tell("its header", Ok(tonic::Response::new(answer.header)));
    });
}

#[test]
fn calls_wait_for_their_turn_as_in_etcd() {
    compare("waiting locks", async |clients| {
        for lease in 1..=4 {
            clients.grant(lease, 600).await;
        }
        let answer = clients.lock.lock(lock("a", 1)).await;
        clients.tell("the owner", answer);
        let mut waiting = Vec::new();
        for lease in 2..=4 {
            waiting.push(start(clients, lock("a", lease)));
            clients.await_keys("a/", lease).await;
        }
        let [second, third, fourth] = waiting.try_into().ok().unwrap();
        clients.tell_keys("a/").await;
        let held = clients.lock.lock(lock("a", 1)).await;
        clients.tell("the owner again", held);
        unlock(clients, "a/1").await;
        clients.tell_end("the second", second).await;
        // The third leaves while it waits for the second, so the fourth waits for the second.
        unlock(clients, "a/3").await;
        clients.revoke(2).await;
        clients.tell_end("the fourth", fourth).await;
        clients.tell_end("the third", third).await;
        clients.tell_keys("a/").await;
    });
}

#[test]
fn other_keys_with_the_prefix_count_as_claims() {
    compare("locks and other keys", async |clients| {
        clients.grant(1, 600).await;
        clients.put("a/other", "x").await;
        let waiting = start(clients, lock("a", 1));
        clients.await_keys("a/", 2).await;
        // A new version is no end of the key, and neither is a younger key.
        clients.put("a/other", "y").await;
        clients.put("a/younger", "x").await;
        clients.delete("a/younger").await;
        clients.tell_keys("a/").await;
        clients.delete("a/other").await;
        clients.tell_end("the lock", waiting).await;
    });
}

#[test]
fn an_owner_whose_lease_expires_gives_way() {
    compare("locks whose lease expires", async |clients| {
        clients.grant(1, 1).await;
        clients.grant(2, 600).await;
        let answer = clients.lock.lock(lock("a", 1)).await;
        clients.tell("the owner", answer);
        let waiting = start(clients, lock("a", 2));
        clients.tell_end("the next one", waiting).await;
        clients.tell_keys("a/").await;
    });
}
