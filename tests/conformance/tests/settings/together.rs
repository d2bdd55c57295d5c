//! Quorate and etcd start with most settings of etcd at once, many of them with values other than
//! their defaults, and give a client the same answers.

use quorate_proto::etcdserverpb::kv_client::KvClient;
use quorate_proto::etcdserverpb::{PutRequest, PutResponse, RangeRequest, RangeResponse};
use quorate_test_conformance::server_pair::ServerPair;
use quorate_test_support::block_on;
use quorate_test_support::client::channel;
use quorate_test_support::server::Server;

const SETTINGS: &[&str] = &[
    "--snapshot-count=7",
    "--heartbeat-interval=50",
    "--election-timeout=800",
    "--initial-election-tick-advance=false",
    "--max-snapshots=9",
    "--max-wals=9",
    "--memory-mlock=false",
    "--quota-backend-bytes=80000000",
    "--backend-bbolt-freelist-type=array",
    "--backend-batch-interval=50ms",
    "--backend-batch-limit=5",
    "--max-txn-ops=7",
    "--max-request-bytes=100000",
    "--max-concurrent-streams=16",
    "--grpc-keepalive-min-time=1s",
    "--grpc-keepalive-interval=10m",
    "--grpc-keepalive-timeout=5s",
    "--socket-reuse-port=true",
    "--socket-reuse-address=true",
    "--enable-grpc-gateway=true",
    "--raft-read-timeout=6s",
    "--raft-write-timeout=6s",
    "--initial-cluster-token=other",
    "--discovery-dial-timeout=3s",
    "--discovery-request-timeout=6s",
    "--discovery-keepalive-time=3s",
    "--discovery-keepalive-timeout=7s",
    "--discovery-insecure-transport=false",
    "--strict-reconfig-check=false",
    "--pre-vote=true",
    "--auto-compaction-retention=5m",
    "--auto-compaction-mode=periodic",
    "--v2-deprecation=gone",
    "--self-signed-cert-validity=2",
    "--tls-min-version=TLS1.3",
    "--cors=http://example.com:80",
    "--host-whitelist=127.0.0.1,localhost",
    "--auth-token=simple",
    "--bcrypt-cost=4",
    "--auth-token-ttl=60",
    "--enable-pprof=true",
    "--metrics=extensive",
    "--logger=zap",
    "--log-level=info",
    "--log-format=console",
    "--warning-unary-request-duration=1s",
    "--corrupt-check-time=1h",
    "--compaction-batch-limit=100",
    "--peer-skip-client-san-verification=true",
    "--watch-progress-notify-interval=5m",
    "--warning-apply-duration=1s",
    "--bootstrap-defrag-threshold-megabytes=1",
    "--max-learners=2",
    "--compaction-sleep-interval=1ms",
    "--downgrade-check-time=6s",
    "--snapshot-catchup-entries=7",
    "--force-new-cluster=false",
    "--unsafe-no-fsync=true",
];

async fn put_and_get(server: &Server) -> (PutResponse, RangeResponse) {
    let mut client = KvClient::new(channel(&server.url()));
    let put = PutRequest { key: "a".into(), value: "1".into(), ..PutRequest::default() };
    let put = client.put(put).await.unwrap().into_inner();
    let range = RangeRequest { key: "a".into(), ..RangeRequest::default() };
    (put, client.range(range).await.unwrap().into_inner())
}

#[test]
fn servers_start_with_most_settings_and_answer_the_same() {
    let Some(mut pair) = ServerPair::start("most settings at once", SETTINGS) else { return };
    let [ours, theirs] = pair.both().map(|(_, server)| block_on(put_and_get(server)));
    assert_eq!(ours, theirs);
    pair.assert_sound();
}
