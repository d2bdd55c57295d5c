//! Many clients at one lock.

use bytes::Bytes;
use quorate_proto::etcdserverpb as pb;
use quorate_proto::v3lockpb::{LockRequest, UnlockRequest};
use quorate_test_conformance::server_pair::ServerPair;
use quorate_test_support::block_on;
use tokio::task::JoinSet;

use super::clients::Clients;

const CLIENTS: i64 = 20;
const ROUNDS: i64 = 5;
/// The key that the lock protects.
const COUNT: Bytes = Bytes::from_static(b"count");

/// Reads and writes the count without any other protection than the lock.
async fn count_up(clients: &mut Clients) {
    let read = pb::RangeRequest { key: COUNT, ..Default::default() };
    let read = clients.kv.range(read).await.unwrap().into_inner();
    let count: i64 =
        read.kvs.first().map_or(0, |row| std::str::from_utf8(&row.value).unwrap().parse().unwrap());
    clients.put("count", (count + 1).to_string()).await;
}

async fn take_turns(url: String, lease: i64) {
    let mut clients = Clients::new(&url);
    clients.grant(lease, 600).await;
    for _ in 0..ROUNDS {
        let request = LockRequest { name: "a".into(), lease };
        let key = clients.lock.lock(request).await.unwrap().into_inner().key;
        count_up(&mut clients).await;
        clients.lock.unlock(UnlockRequest { key }).await.unwrap();
    }
}

#[test]
fn twenty_clients_take_turns() {
    let Some(mut pair) = ServerPair::start("contended locks", &[]) else { return };
    for (name, server) in pair.both() {
        block_on(async {
            let mut tasks = JoinSet::new();
            for lease in 1..=CLIENTS {
                tasks.spawn(take_turns(server.url(), lease));
            }
            while let Some(done) = tasks.join_next().await {
                done.unwrap();
            }
            let mut clients = Clients::new(&server.url());
            let read = pb::RangeRequest { key: COUNT, ..Default::default() };
            let read = clients.kv.range(read).await.unwrap().into_inner();
            let expected = (CLIENTS * ROUNDS).to_string();
            assert_eq!(read.kvs[0].value, expected, "{name}");
            clients.await_keys("a/", 0).await;
        });
    }
    pair.assert_sound();
}
