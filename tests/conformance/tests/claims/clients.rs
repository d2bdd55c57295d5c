//! Clients of one server, and scenarios that both servers must answer alike.

use std::fmt::Debug;
use std::time::Duration;

use bytes::Bytes;
use quorate_proto::etcdserverpb as pb;
use quorate_proto::etcdserverpb::kv_client::KvClient;
use quorate_proto::etcdserverpb::lease_client::LeaseClient;
use quorate_proto::v3electionpb::election_client::ElectionClient;
use quorate_proto::v3lockpb::lock_client::LockClient;
use quorate_test_conformance::server_pair::ServerPair;
use quorate_test_support::client::channel;
use quorate_test_support::{block_on, http};
use tokio::task::JoinSet;
use tonic::transport::Channel;
use tonic::{Response, Status};

/// How long a call may take to get what it waits for.
const WITHIN: Duration = Duration::from_secs(30);
/// Pause between two looks at a condition.
const PAUSE: Duration = Duration::from_millis(5);

/// Clients of one server, and what the server has told them.
pub(crate) struct Clients {
    pub(crate) kv: KvClient<Channel>,
    pub(crate) lease: LeaseClient<Channel>,
    pub(crate) lock: LockClient<Channel>,
    pub(crate) election: ElectionClient<Channel>,
    pub(crate) address: String,
    told: Vec<String>,
}

/// A call that waits.
pub(crate) struct Waiting(JoinSet<String>);

impl Waiting {
    pub(crate) fn start<T, F>(call: F) -> Self
    where
        T: Debug,
        F: Future<Output = Result<Response<T>, Status>> + Send + 'static,
    {
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { text(call.await) });
        Self(tasks)
    }
}

/// An answer as text.
fn text<T: Debug>(answer: Result<Response<T>, Status>) -> String {
    match answer {
        Ok(answer) => format!("{:?}", answer.into_inner()),
        Err(status) => format!("{:?}: {}", status.code(), status.message()),
    }
}

impl Clients {
    pub(crate) fn new(url: &str) -> Self {
        Self {
            kv: KvClient::new(channel(url)),
            lease: LeaseClient::new(channel(url)),
            lock: LockClient::new(channel(url)),
            election: ElectionClient::new(channel(url)),
            address: url.trim_start_matches("http://").to_owned(),
            told: Vec::new(),
        }
    }

    /// Notes an answer, for the comparison with that of the other server.
    pub(crate) fn tell<T: Debug>(&mut self, what: &str, answer: Result<Response<T>, Status>) {
        self.told.push(format!("{what}: {}", text(answer)));
    }

    /// Notes the answer of a call that has waited.
    pub(crate) async fn tell_end(&mut self, what: &str, mut waiting: Waiting) {
        let answer = tokio::time::timeout(WITHIN, waiting.0.join_next()).await;
        let answer = answer.unwrap_or_else(|_| panic!("{what}: no answer"));
        self.told.push(format!("{what}: {}", answer.unwrap().unwrap()));
    }

    /// Notes the keys that begin with `prefix`.
    pub(crate) async fn tell_keys(&mut self, prefix: &str) {
        let keys = self.kv.range(range(prefix)).await;
        self.tell(prefix, keys);
    }

    /// Waits until exactly these many keys begin with `prefix`.
    pub(crate) async fn await_keys(&mut self, prefix: &str, count: i64) {
        let seen = async {
            while self.kv.range(range(prefix)).await.unwrap().into_inner().count != count {
                tokio::time::sleep(PAUSE).await;
            }
        };
        let seen = tokio::time::timeout(WITHIN, seen).await;
        seen.unwrap_or_else(|_| panic!("{prefix}: never {count} keys"));
    }

    /// Waits until the server has a watcher.
    pub(crate) async fn await_watcher(&self) {
        let watchers = || http::metric(&self.address, "etcd_debugging_mvcc_watcher_total");
        let seen = async {
            while watchers().is_none_or(|count| count < 1.0) {
                tokio::time::sleep(PAUSE).await;
            }
        };
        tokio::time::timeout(WITHIN, seen).await.expect("a watcher");
    }

    /// Grants a lease with this id.
    pub(crate) async fn grant(&mut self, id: i64, ttl: i64) {
        self.lease.lease_grant(pb::LeaseGrantRequest { id, ttl }).await.unwrap();
    }

    pub(crate) async fn revoke(&mut self, id: i64) {
        self.lease.lease_revoke(pb::LeaseRevokeRequest { id }).await.unwrap();
    }

    pub(crate) async fn put(&mut self, key: &str, value: impl Into<Bytes>) {
        let key = key.to_owned().into();
        let put = pb::PutRequest { key, value: value.into(), ..Default::default() };
        self.kv.put(put).await.unwrap();
    }

    pub(crate) async fn delete(&mut self, key: &str) {
        let key = key.to_owned().into();
        let delete = pb::DeleteRangeRequest { key, ..Default::default() };
        self.kv.delete_range(delete).await.unwrap();
    }
}

fn range(prefix: &str) -> pb::RangeRequest {
    let mut range_end = prefix.as_bytes().to_vec();
    *range_end.last_mut().unwrap() += 1;
    let key = prefix.to_owned().into();
    pb::RangeRequest { key, range_end: range_end.into(), ..Default::default() }
}

/// Runs a scenario on both servers; they must tell the same.
pub(crate) fn compare(suite: &str, scenario: impl AsyncFn(&mut Clients)) {
    let Some(mut pair) = ServerPair::start(suite, &[]) else { return };
    let told = pair.both().map(|(_, server)| {
        block_on(async {
            let mut clients = Clients::new(&server.url());
            scenario(&mut clients).await;
            clients.told
        })
    });
    pair.assert_sound();
    let [quorate, etcd] = told;
    assert!(!quorate.is_empty(), "the scenario tells nothing");
    for (ours, theirs) in quorate.iter().zip(&etcd) {
        assert_eq!(ours, theirs);
    }
    assert_eq!(quorate.len(), etcd.len());
}
