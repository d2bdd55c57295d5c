//! Unfinished requests do not delay a stop.

use std::io::Write as _;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use quorate_proto::etcdserverpb as pb;
use quorate_test_conformance::raw::{Connection, frame};
use quorate_test_support::certs::Pki;
use quorate_test_support::http2::kind::{DATA, HEADERS};
use quorate_test_support::http2::{self, END_HEADERS, PREFACE};
use quorate_test_support::server::Server;
use quorate_test_support::{block_on, program};

use crate::{PUT, RANGE, call_headers, connect, encoded, read_frame};

/// One second for the stop, and slack for a busy machine; complete requests may take seven seconds.
const STOPS_WITHIN: Duration = Duration::from_secs(4);

/// Opens a connection and sends `bytes`; if `is_answered`, waits for a frame of the server.
fn connect_and_send(address: &str, bytes: &[u8], is_answered: bool) -> TcpStream {
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
fn unfinished_requests_do_not_delay_the_stop() {
    let folder = tempfile::tempdir().unwrap();
    let pki = Pki::new(folder.path());
    let file = |flag: &str, name: &str| format!("--{flag}={}", pki.path(name).display());
    let headers = call_headers(PUT, &[0x41, 1, b'a']);
    let headers = http2::frame(HEADERS, END_HEADERS, 1, &headers);
    let half = frame(&[1; 100]);
    let data = http2::frame(DATA, 0, 1, &half[..20]);
    let beginnings: [(&[u8], bool); 6] = [
        (b"", false),
        (&PREFACE[..20], false),
        (PREFACE, false),
        (&http2::connection(&[]), true),
        (&http2::connection(&[headers, data]), true),
        (b"POST /v3/kv/put HTTP/1.1\r\nHost: a\r\nContent-", false),
    ];
    for (beginning, is_answered) in beginnings {
        let server = Server::start_new(&program::quorate(), &[]);
        let _client = connect_and_send(&server.address(), beginning, is_answered);
        let _member = connect_and_send(&server.peer_address(), beginning, is_answered);
        let took = stop(server);
        assert!(took < STOPS_WITHIN, "{}: {took:?}", beginning.escape_ascii());
    }
    let flags = [file("cert-file", "server.crt"), file("key-file", "server.key")];
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let mut server = Server::new(&program::quorate(), &flags).with_tls();
    server.start();
    let _client = connect_and_send(&server.address(), b"\x16\x03\x01\x02\x00", false);
    let took = stop(server);
    assert!(took < STOPS_WITHIN, "a half hello of TLS: {took:?}");
}

#[test]
fn complete_requests_are_answered_before_the_stop() {
    const REQUESTS: usize = 300;
    let server = Server::start_new(&program::quorate(), &[]);
    block_on(async {
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
        first.assert_ok();
        server.signal(rustix::process::Signal::TERM);
        for call in calls {
            let answer = call.end().await;
            answer.assert_ok();
        }
    });
    stop_of_itself(server);
}

fn stop_of_itself(mut server: Server) {
    server.wait_for_end();
}
