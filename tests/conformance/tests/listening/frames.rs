//! Unusual HTTP/2 that clients of etcd send.

use std::io::Write as _;

use bytes::Bytes;
use quorate_proto::etcdserverpb as pb;
use quorate_test_conformance::raw::{Connection, frame};
use quorate_test_support::http2::kind::{DATA, HEADERS, RST_STREAM};
use quorate_test_support::http2::{self, END_HEADERS, END_STREAM};
use quorate_test_support::server::Server;
use quorate_test_support::{block_on, program};

use crate::{RANGE, call_headers, connect, encoded, read_frame};

const GRANT: &str = "/etcdserverpb.Lease/LeaseGrant";
const KEEP_ALIVE: &str = "/etcdserverpb.Lease/LeaseKeepAlive";
const WATCH: &str = "/etcdserverpb.Watch/Watch";

/// Requests that a client with this many leases sends at once.
const KEEP_ALIVES: usize = 20_000;

#[test]
fn twenty_thousand_keep_alives_at_once_are_answered() {
    let mut server = Server::start_new(&program::quorate(), &[]);
    block_on(async {
        let connection = Connection::open(&server.address()).await;
        let grant = pb::LeaseGrantRequest { ttl: 600, id: 7 };
        let granted = connection.method(GRANT, &[encoded(&grant)]).await;
        granted.assert_ok();
        let ask = frame(&encoded(&pb::LeaseKeepAliveRequest { id: 7 }));
        // Two streams, used in turn.
        let mut streams = Vec::new();
        for _ in 0..2 {
            let request = Connection::request(KEEP_ALIVE);
            streams.push(connection.start(request, Bytes::new(), false).await);
        }
        for _ in 0..KEEP_ALIVES / 2 {
            streams.iter_mut().for_each(|stream| stream.send(ask.clone(), false));
        }
        for mut stream in streams {
            assert!(stream.wait_for_messages(KEEP_ALIVES / 2).await, "{:?}", stream.so_far().reset);
            for message in stream.so_far().messages() {
                let answer = <pb::LeaseKeepAliveResponse as prost::Message>::decode(message);
                assert_eq!(answer.unwrap().ttl, 600);
            }
        }
    });
    server.stop();
}

#[test]
fn empty_data_frames_are_ignored() {
    let mut server = Server::start_new(&program::quorate(), &[]);
    block_on(async {
        let connection = Connection::open(&server.address()).await;
        let request = Connection::request(WATCH);
        let mut stream = connection.start(request, Bytes::new(), false).await;
        for _ in 0..1000 {
            stream.send(Bytes::new(), false);
        }
        let create = pb::WatchCreateRequest { key: "k".into(), ..Default::default() };
        let union = Some(pb::watch_request::RequestUnion::CreateRequest(create));
        stream.send(frame(&encoded(&pb::WatchRequest { request_union: union })), false);
        assert!(stream.wait_for_messages(1).await, "{:?}", stream.so_far().reset);
    });
    server.stop();
}

/// Makes two calls, the second with the authority that the first one left in the compression table.
/// Returns the numbers of the answered streams and of the reset streams.
fn ask_twice(server: &Server, first: &[u8]) -> (Vec<u32>, Vec<u32>) {
    let message = frame(&encoded(&pb::RangeRequest { key: "k".into(), ..Default::default() }));
    let call = |stream, authority: &[u8]| {
        let headers = call_headers(RANGE, authority);
        let headers = http2::frame(HEADERS, END_HEADERS, stream, &headers);
        [headers, http2::frame(DATA, END_STREAM, stream, &message)].concat()
    };
    let mut stream = connect(&server.address());
    // 0xbe is the newest entry of the table.
    stream.write_all(&http2::connection(&[call(1, first), call(3, &[0xbe])])).unwrap();
    let mut answered = Vec::new();
    let mut reset = Vec::new();
    while answered.len() + reset.len() < 2 {
        match read_frame(&mut stream) {
            Some((DATA, _, stream)) => answered.push(stream),
            Some((RST_STREAM, _, stream)) => reset.push(stream),
            Some(_) => {}
            None => break,
        }
    }
    answered.sort_unstable();
    (answered, reset)
}

#[test]
fn any_authority_is_accepted() {
    let mut server = Server::start_new(&program::quorate(), &[]);
    let plain = [
        "127.0.0.1:2379",
        "#initially=[http://127.0.0.1:2379]",
        "/tmp/x.sock",
        "unix:/x",
        "svc/foo",
        "a b",
    ];
    for name in plain {
        let field = [vec![0x41], http2::text(name)].concat();
        assert_eq!(ask_twice(&server, &field), (vec![1, 3], vec![]), "{name}");
    }
    // "svc/foo" in Huffman coding.
    let field = [&[0x41, 0x85][..], b"\x47\x72\x31\x29\xcf"].concat();
    assert_eq!(ask_twice(&server, &field), (vec![1, 3], vec![]));
    server.stop();
    assert!(!server.log().contains("refused a request"), "{}", server.log_tail());
}

#[test]
fn thousands_of_cancelled_calls_keep_the_connection() {
    const CALLS: u32 = 5000;
    let mut server = Server::start_new(&program::quorate(), &[]);
    let headers = call_headers(RANGE, &[0x01, 1, b'a']);
    let taken_back = (0..CALLS).map(|call| {
        let call = 2 * call + 1;
        let reset = http2::frame(RST_STREAM, 0, call, &8_u32.to_be_bytes());
        [http2::frame(HEADERS, END_HEADERS, call, &headers), reset].concat()
    });
    let last = 2 * CALLS + 1;
    let message = frame(&encoded(&pb::RangeRequest { key: "k".into(), ..Default::default() }));
    let asked = [
        http2::frame(HEADERS, END_HEADERS, last, &headers),
        http2::frame(DATA, END_STREAM, last, &message),
    ];
    let mut stream = connect(&server.address());
    stream.write_all(&http2::connection(&taken_back.chain(asked).collect::<Vec<_>>())).unwrap();
    loop {
        match read_frame(&mut stream) {
            Some((DATA, _, number)) if number == last => break,
            Some(_) => {}
            None => panic!("the connection ends"),
        }
    }
    server.stop();
}

#[test]
fn refused_requests_are_logged_with_a_reason() {
    let mut server = Server::start_new(&program::quorate(), &[]);
    for _ in 0..100 {
        // Neither `:scheme` nor `:path`.
        let call = http2::frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0x83]);
        let mut stream = connect(&server.address());
        stream.write_all(&http2::connection(&[call])).unwrap();
        while read_frame(&mut stream).is_some_and(|(kind, ..)| kind != RST_STREAM) {}
    }
    server.stop();
    let log = server.log();
    assert!(log.contains("missing scheme"), "{}", server.log_tail());
    let lines = log.lines().filter(|line| line.contains("refused a request")).count();
    assert!(lines < 50, "{lines} lines for 100 requests in a short time");
}
