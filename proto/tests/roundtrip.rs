//! Compares encoded messages with literal bytes, and checks that decoding does not copy keys and
//! values.

#![forbid(unsafe_code)]

use bytes::Bytes;
use prost::Message;
use quorate_proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use quorate_proto::etcdserverpb::request_op::Request;
use quorate_proto::etcdserverpb::watch_create_request::FilterType;
use quorate_proto::etcdserverpb::{
    Compare, Member, PutRequest, RangeRequest, RequestOp, ResponseHeader, TxnRequest,
    WatchCreateRequest, WatchResponse,
};
use quorate_proto::health::HealthListResponse;
use quorate_proto::health::health_check_response::ServingStatus;
use quorate_proto::mvccpb::event::EventType;
use quorate_proto::mvccpb::{Event, KeyValue};

/// Asserts that `message` encodes to `wire` and that `wire` decodes to `message`.
#[track_caller]
fn assert_wire<M: Message + Default + PartialEq + std::fmt::Debug>(message: &M, wire: &[u8]) {
    assert_eq!(M::decode(wire).expect("decodes"), *message);
    assert_eq!(message.encode_to_vec(), wire);
}

/// Whether `part` is in the memory of `whole`.
fn shares(part: &Bytes, whole: &Bytes) -> bool {
    let part = part.as_ptr_range();
    let whole = whole.as_ptr_range();
    whole.start <= part.start && part.end <= whole.end
}

#[test]
fn put_request() {
    assert_wire(
        &PutRequest {
            key: Bytes::from_static(b"foo"),
            value: Bytes::from_static(b"barbaz"),
            lease: 300,
            prev_kv: true,
            ignore_value: true,
            ignore_lease: true,
        },
        b"\x0a\x03foo\x12\x06barbaz\x18\xac\x02\x20\x01\x28\x01\x30\x01",
    );
}

/// Revisions and lease ids are plain varints, so a negative number has ten bytes.
#[test]
fn negative_numbers() {
    let wire = b"\x0a\x01a\x20\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01";
    let key = Bytes::from_static(b"a");
    assert_wire(&RangeRequest { key, revision: -1, ..RangeRequest::default() }, wire);
}

/// `range_end` of a comparison is the only field whose tag has two bytes.
#[test]
fn compare() {
    assert_wire(
        &Compare {
            result: CompareResult::NotEqual.into(),
            target: CompareTarget::Mod.into(),
            key: Bytes::from_static(b"a"),
            range_end: Bytes::from_static(b"b"),
            target_union: Some(TargetUnion::ModRevision(5)),
        },
        b"\x08\x03\x10\x02\x1a\x01a\x30\x05\x82\x04\x01b",
    );
}

/// A chosen member of a oneof is sent even when it is zero: "compare with zero" is not "unset".
#[test]
fn zero_in_a_oneof() {
    assert_wire(
        &Compare { target_union: Some(TargetUnion::Version(0)), ..Compare::default() },
        b"\x20\x00",
    );
}

#[test]
fn watch_response() {
    let kv = KeyValue { key: Bytes::from_static(b"k"), mod_revision: 7, ..KeyValue::default() };
    assert_wire(
        &WatchResponse {
            header: Some(ResponseHeader { revision: 7, ..ResponseHeader::default() }),
            watch_id: 2,
            events: vec![Event { r#type: EventType::Delete.into(), kv: Some(kv), prev_kv: None }],
            ..WatchResponse::default()
        },
        b"\x0a\x02\x18\x07\x10\x02\x5a\x09\x08\x01\x12\x05\x0a\x01k\x18\x07",
    );
}

/// Filters are encoded packed, but unpacked filters are decoded too.
#[test]
fn repeated_enums() {
    let filters = vec![FilterType::Noput.into(), FilterType::Nodelete.into()];
    let request = WatchCreateRequest { filters, ..WatchCreateRequest::default() };
    assert_wire(&request, b"\x2a\x02\x00\x01");
    let unpacked = WatchCreateRequest::decode(&b"\x28\x00\x28\x01"[..]).expect("decodes");
    assert_eq!(unpacked, request);
}

/// HashKV hashes stored records, so their encoding must be etcd's: fields in order, without zeros.
#[test]
fn stored_records_are_canonical() {
    let key = Bytes::from_static(b"k");
    assert_wire(&KeyValue { key: key.clone(), ..KeyValue::default() }, b"\x0a\x01k");
    assert_wire(
        &KeyValue {
            key,
            create_revision: 2,
            mod_revision: 3,
            version: 4,
            value: Bytes::from_static(b"v"),
            lease: 5,
        },
        b"\x0a\x01k\x10\x02\x18\x03\x20\x04\x2a\x01v\x30\x05",
    );
}

/// The URL fields of a member have other names in Rust, but the same encoding.
#[test]
fn member() {
    assert_wire(
        &Member {
            id: 1,
            name: "m".into(),
            peer_urls: vec!["p".into()],
            client_urls: vec!["c".into(), "d".into()],
            is_learner: true,
        },
        b"\x08\x01\x12\x01m\x1a\x01p\x22\x01c\x22\x01d\x28\x01",
    );
}

#[test]
fn health_list() {
    let mut list = HealthListResponse::default();
    list.statuses.entry("s".into()).or_default().set_status(ServingStatus::Serving);
    assert_wire(&list, b"\x0a\x07\x0a\x01s\x12\x02\x08\x01");
}

/// A newer client may send unknown fields and enum numbers. Decoding drops the fields and keeps the
/// numbers, so that the server can refuse them.
#[test]
fn unknown_fields_and_numbers() {
    let wire: &[u8] = b"\x0a\x01a\x28\x09\xfa\x01\x02zz";
    let request = RangeRequest::decode(wire).expect("decodes");
    assert_eq!(request.key, "a");
    assert_eq!(request.sort_order, 9);
    assert_eq!(request.encode_to_vec(), b"\x0a\x01a\x28\x09");
}

#[test]
fn cut_messages_are_refused() {
    let wire: &[u8] = b"\x0a\x03foo\x12\x06barbaz";
    for length in [1, 2, 4, 6, 7, wire.len() - 1] {
        PutRequest::decode(&wire[..length]).expect_err("is cut");
    }
}

/// Transactions can nest as deep as etcd's limit of operations allows. The decoder does not bound
/// the depth, so the depth of an untrusted message must be checked before it is decoded.
#[test]
fn transactions_nest_deeply() {
    let mut txn = TxnRequest::default();
    for _ in 0..128 {
        let operation = RequestOp { request: Some(Request::RequestTxn(txn)) };
        txn = TxnRequest { success: vec![operation], ..TxnRequest::default() };
    }
    let wire = txn.encode_to_vec();
    assert_eq!(TxnRequest::decode(wire.as_slice()).expect("decodes"), txn);
}

#[test]
fn decoding_shares_the_allocation() {
    let put = PutRequest {
        key: Bytes::from_static(b"key"),
        value: vec![b'v'; 4096].into(),
        ..PutRequest::default()
    };
    let operation = RequestOp { request: Some(Request::RequestPut(put.clone())) };
    let nested = TxnRequest { success: vec![operation], ..TxnRequest::default() };
    let outer = RequestOp { request: Some(Request::RequestTxn(nested)) };
    let txn = TxnRequest { failure: vec![outer], ..TxnRequest::default() };

    let wire = Bytes::from(put.encode_to_vec());
    let decoded = PutRequest::decode(wire.clone()).expect("decodes");
    assert!(shares(&decoded.key, &wire) && shares(&decoded.value, &wire));
    assert!(!shares(&put.value, &wire), "the check itself can fail");

    let wire = Bytes::from(txn.encode_to_vec());
    let mut decoded = TxnRequest::decode(wire.clone()).expect("decodes");
    let Some(Request::RequestTxn(nested)) = decoded.failure.remove(0).request else {
        panic!("a nested transaction was sent");
    };
    let [RequestOp { request: Some(Request::RequestPut(decoded)) }] = nested.success.as_slice()
    else {
        panic!("a put was sent");
    };
    assert!(shares(&decoded.key, &wire) && shares(&decoded.value, &wire));
    assert_eq!(*decoded, put);
}
