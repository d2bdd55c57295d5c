//! Unfinished requests do not delay a stop.

use std::io::Write as _;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use quorate_proto::etcdserverpb as pb;
use quorate_test_conformance::raw::{Connection, frame};
use quorate_test_support::certs::Pki;
use quorate_test_support::program;
use quorate_test_support::server::Server;

use crate::{
    DATA, END_HEADERS, HEADERS, PREFACE, PUT, RANGE, call_headers, connect, encoded, h2_frame,
    http2, read_frame, run,
};

/// One second for the stop, and slack for a busy machine; complete requests may take seven seconds.
const STOPS_WITHIN: Duration = Duration::from_secs(4);

/// Opens a connection and sends `bytes`; if `is_answered`, waits for a frame of the server.
fn said(address: &str, bytes: &[u8], is_answered: bool) -> TcpStream {
    let mut stream = connect(address);
    stream.write_all(bytes).unwrap();
    if is_answered {
        read_frame(&mut stream).unwrap();
    }
    stream
}

/// Stops the server, and returns how long that took.
fn stop(mut server: Server) -> Duration {
    let started = Instant::now();
    server.stop();
    started.elapsed()
}

#[test]
fn half_a_request_is_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let pki = Pki::new(folder.path());
    let file = |flag: &str, name: &str| format!("--{flag}={}", pki.path(name).display());
    let headers = call_headers(PUT, &[0x41, 1, b'a']);
    let headers = h2_frame(HEADERS, END_HEADERS, 1, &headers);
    let half = frame(&[1; 100]);
    let data = h2_frame(DATA, 0, 1, &half[..20]);
    let beginnings: [(&[u8], bool); 6] = [
        (b"", false),
        (&PREFACE[..20], false),
        (PREFACE, false),
        (&http2(&[]), true),
        (&http2(&[headers, data]), true),
        (b"POST /v3/kv/put HTTP/1.1\r\nHost: a\r\nContent-", false),
    ];
    for (beginning, is_answered) in beginnings {
        let server = Server::start_new(&program::quorate(), &[]);
        let _client = said(&server.address(), beginning, is_answered);
        let _member = said(&server.peer_address(), beginning, is_answered);
        let took = stop(server);
        assert!(took < STOPS_WITHIN, "{}: {took:?}", beginning.escape_ascii());
    }
    let flags = [file("cert-file", "server.crt"), file("key-file", "server.key")];
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let mut server = Server::new(&program::quorate(), &flags).with_tls();
    server.start();
    let _client = said(&server.address(), b"\x16\x03\x01\x02\x00", false);
    let took = stop(server);
    assert!(took < STOPS_WITHIN, "a half hello of TLS: {took:?}");
}

#[test]
fn requests_that_were_asked_are_answered() {
    const REQUESTS: usize = 300;
    let server = Server::start_new(&program::quorate(), &[]);
    run(async {
        let connection = Connection::open(&server.address()).await;
        let range = encoded(&pb::RangeRequest { key: "k".into(), ..Default::default() });
        // Its answer shows that the server has accepted the connection.
        connection.method(RANGE, &[range]).await;
        let value = vec![7; 10_000];
        let request = pb::PutRequest { key: "k".into(), value: value.into(), ..Default::default() };
        let message = frame(&encoded(&request));
        let mut calls = Vec::new();
        for _ in 0..REQUESTS {
            let request = Connection::request(PUT);
            calls.push(connection.start(request, message.clone(), true).await);
        }
        // The first answer shows that the server is reading the calls.
        let mut calls = calls.into_iter();
        let first = calls.next().unwrap().end().await;
        assert_eq!(first.code.as_deref(), Some("0"));
        server.signal(rustix::process::Signal::TERM);
        for call in calls {
            let answer = call.end().await;
            assert_eq!(answer.code.as_deref(), Some("0"), "{answer:?}");
        }
    });
    stop_of_itself(server);
}

fn stop_of_itself(mut server: Server) {
    server.wait_for_end();
}
