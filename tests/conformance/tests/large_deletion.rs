//! A deletion of more keys than Quorate passes to watches in one batch reaches each watch as one
//! message, as in etcd: watches that exist already, and watches that replay it from history.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use bytes::Bytes;
use quorate_proto::etcdserverpb as pb;
use quorate_proto::etcdserverpb::kv_client::KvClient;
use quorate_proto::etcdserverpb::request_op::Request;
use quorate_proto::etcdserverpb::watch_client::WatchClient;
use quorate_proto::etcdserverpb::watch_request::RequestUnion;
use quorate_test_conformance::server_pair::ServerPair;
use quorate_test_support::block_on;
use quorate_test_support::client::channel;
use tonic::Streaming;
use tonic::transport::Channel;

/// More than two batches of events.
const KEYS: usize = 2500;
/// The limit of operations in a transaction.
const PUTS: usize = 128;

fn key(number: usize) -> Bytes {
    format!("k/{number:05}").into()
}

async fn put_all(client: &mut KvClient<Channel>) {
    let puts: Vec<pb::RequestOp> = (0..KEYS)
        .map(|number| {
            let value = format!("value of {number}").into();
            let put = pb::PutRequest { key: key(number), value, ..Default::default() };
            pb::RequestOp { request: Some(Request::RequestPut(put)) }
        })
        .collect();
    for success in puts.chunks(PUTS) {
        let txn = pb::TxnRequest { success: success.to_vec(), ..Default::default() };
        client.txn(txn).await.unwrap();
    }
}

/// Creates a watch over all keys, with `prev_kv`, and waits for the answer to its creation.
async fn watch(url: &str, start_revision: i64) -> Streaming<pb::WatchResponse> {
    let create = pb::WatchCreateRequest {
        key: "k/".into(),
        range_end: "k0".into(),
        start_revision,
        prev_kv: true,
        ..Default::default()
    };
    let request = pb::WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
    // The request stream ends after this request; the watch continues.
    let requests = tokio_stream::once(request);
    let mut answers = WatchClient::new(channel(url)).watch(requests).await.unwrap().into_inner();
    assert!(answers.message().await.unwrap().unwrap().created);
    answers
}

/// The deletion's message on an existing watch, and on one that starts at its revision.
async fn deletion_messages(url: &str) -> [pb::WatchResponse; 2] {
    let mut client = KvClient::new(channel(url));
    put_all(&mut client).await;
    let mut early = watch(url, 0).await;
    let delete =
        pb::DeleteRangeRequest { key: "k/".into(), range_end: "k0".into(), ..Default::default() };
    let deleted = client.delete_range(delete).await.unwrap().into_inner();
    let revision = deleted.header.unwrap().revision;
    let mut late = watch(url, revision).await;
    let mut answers = [early.message().await.unwrap(), late.message().await.unwrap()];
    for answer in answers.iter_mut().flatten() {
        // Ids and terms are not compared.
        answer.header = Some(pb::ResponseHeader { revision, ..Default::default() });
    }
    answers.map(Option::unwrap)
}

#[test]
fn a_large_deletion_is_one_watch_message() {
    let Some(mut pair) = ServerPair::start("large deletion", &[]) else { return };
    let [quorate, etcd] = pair.both().map(|(_, server)| block_on(deletion_messages(&server.url())));
    pair.assert_sound();
    for (quorate, etcd) in quorate.iter().zip(&etcd) {
        assert_eq!(quorate.events.len(), KEYS);
        assert!(quorate == etcd, "Quorate: {quorate:?}\netcd: {etcd:?}");
    }
}
