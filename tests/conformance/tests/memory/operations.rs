//! Transactions of very many operations, which need far more memory decoded than on the wire.

use prost::Message;
use quorate_proto::etcdserverpb as pb;
use quorate_proto::etcdserverpb::request_op::Request;
use quorate_test_conformance::healthy::HealthyClient;
use quorate_test_conformance::raw::Connection;
use tokio::task::JoinSet;

use super::{TXN, assert_bounded, fill, run, start};

const CLIENTS: usize = 60;
/// Operations of each level of nested transactions, from the innermost. With the put and the first
/// nested transaction, their sum is within the default limit of 128.
const LEVELS: [usize; 3] = [40, 42, 43];

fn op(request: Request) -> pb::RequestOp {
    pb::RequestOp { request: Some(request) }
}

/// A transaction with a put and, in nested transactions, 72,240 reads of single keys.
fn transaction() -> pb::TxnRequest {
    let get = pb::RangeRequest { key: "k".into(), ..Default::default() };
    let mut inner = op(Request::RequestRange(get));
    for count in LEVELS {
        let success = vec![inner; count];
        inner = op(Request::RequestTxn(pb::TxnRequest { success, ..Default::default() }));
    }
    let put = pb::PutRequest { key: "other".into(), value: "v".into(), ..Default::default() };
    pb::TxnRequest { success: vec![op(Request::RequestPut(put)), inner], ..Default::default() }
}

#[test]
fn transactions_of_many_operations_use_bounded_memory() {
    let server = start();
    run(fill(&server, 60, 1_000_000));
    let healthy = HealthyClient::start(&server);
    let answers = run(async {
        let message = bytes::Bytes::from(transaction().encode_to_vec());
        let mut clients = JoinSet::new();
        for _ in 0..CLIENTS {
            let (address, message) = (server.address(), message.clone());
            clients.spawn(
                async move { Connection::open(&address).await.method(TXN, &[message]).await },
            );
        }
        clients.join_all().await
    });
    let full = ["etcdserver: too many requests", "etcdserver: request timed out"];
    for answer in &answers {
        let is_refused = full.contains(&answer.message.as_str());
        assert!(answer.code.as_deref() == Some("0") || is_refused, "{answer:?}");
    }
    let served = answers.iter().filter(|answer| answer.code.as_deref() == Some("0")).count();
    eprintln!("transactions of many operations: {served} of {CLIENTS} served");
    assert!(served > 0);
    drop(answers);
    healthy.finish("transactions of many operations");
    assert_bounded(&server, "transactions of many operations");
}
