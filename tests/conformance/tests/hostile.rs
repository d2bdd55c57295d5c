//! No input at the ports stops the server or makes it use much memory.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use bytes::Bytes;
use quorate_proto::peer::DescribeRequest;
use quorate_proto::peer::peer_client::PeerClient;
use quorate_test_conformance::healthy::HealthyClient;
use quorate_test_conformance::raw::{Call, Connection, frame, frame_with};
use quorate_test_conformance::server_pair::ServerPair;
use quorate_test_support::http2::{self, END_HEADERS, END_STREAM, PREFACE, kind};
use quorate_test_support::server::Server;
use quorate_test_support::{block_on, program};
use rand::rngs::StdRng;
use rand::{Rng as _, RngCore as _, SeedableRng as _};
use tonic::transport::Endpoint;

const RANGE: &str = "/etcdserverpb.KV/Range";
const WATCH: &str = "/etcdserverpb.Watch/Watch";

/// How long a server may take to answer or to close a connection.
const PATIENCE: Duration = Duration::from_secs(30);
/// Memory limit while unknown clients call the peer port: only their headers may be read.
const STRANGER_BYTES_MAX: u64 = 256 << 20;
/// Memory limit of all attacks.
const MEMORY_BYTES_MAX: u64 = 512 << 20;

/// The headers of a gRPC call.
fn call_headers(path: &str) -> Vec<u8> {
    let headers = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "server"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ];
    headers.map(|(name, value)| http2::header(name, value)).concat()
}

/// Sends `bytes` and closes the sending side. Returns the server's answer until the server closes.
fn send(server: &Server, bytes: &[u8]) -> Vec<u8> {
    exchange(server, bytes, true)
}

fn exchange(server: &Server, bytes: &[u8], is_end: bool) -> Vec<u8> {
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut reading = stream.try_clone().unwrap();
    let reader = std::thread::spawn(move || {
        let mut said = Vec::new();
        // The connection may be reset.
        reading.read_to_end(&mut said).ok();
        said
    });
    // The server may close before it has read all bytes.
    stream.write_all(bytes).ok();
    if is_end {
        stream.shutdown(Shutdown::Write).ok();
    }
    reader.join().unwrap()
}

/// Asserts that the server answers a client.
async fn serves(server: &Server) {
    let connection = Connection::open(&server.address()).await;
    let answer = connection.method(RANGE, &[Bytes::from_static(b"\x0a\x01a")]).await;
    answer.assert_ok();
}

/// Runs `attack` against a server, which must serve another client meanwhile, keep serving, stay
/// within its memory and not panic.
fn survives(attack: impl FnOnce(&Server)) {
    let mut server = Server::start_new(&program::quorate(), &[]);
    let healthy = HealthyClient::start(&server);
    attack(&server);
    healthy.finish("an attack");
    block_on(serves(&server));
    let memory = server.usage().peak_memory;
    assert!(memory < MEMORY_BYTES_MAX, "it used {memory} bytes");
    server.stop();
    assert_eq!(server.panic_line(), None);
}

#[test]
fn random_bytes_do_no_harm() {
    survives(|server| {
        let mut random = StdRng::seed_from_u64(1);
        for round in 0..200 {
            let mut bytes = vec![0; random.random_range(1..5000)];
            random.fill_bytes(&mut bytes);
            send(server, &bytes);
            // Also after a valid beginning.
            let head = &http2::connection(&[])[..random.random_range(0..=PREFACE.len() + 9)];
            send(server, &[head, &bytes].concat());
            if round % 50 == 0 {
                block_on(serves(server));
            }
        }
        let hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
        send(server, &[&hello[..], &[7; 509]].concat());
    });
}

#[test]
fn random_frames_do_no_harm() {
    survives(|server| {
        let mut random = StdRng::seed_from_u64(2);
        let good = http2::frame(kind::HEADERS, END_HEADERS, 1, &call_headers(RANGE));
        for _ in 0..300 {
            let mut frames = vec![good.clone()];
            for _ in 0..random.random_range(1..8) {
                let mut payload = vec![0; random.random_range(0..80)];
                random.fill_bytes(&mut payload);
                let stream = *[0, 1, 1, 2, 3, 0x7fff_ffff].get(random.random_range(0..6)).unwrap();
                let kind = random.random_range(0..12);
                frames.push(http2::frame(kind, random.random(), stream, &payload));
            }
            send(server, &http2::connection(&frames));
        }
        // Very small DATA frames, and window updates that overflow the window.
        let data = http2::frame(kind::DATA, 0, 1, &[0]);
        send(server, &http2::connection(&[vec![good.clone()], vec![data; 20_000]].concat()));
        let update = http2::frame(kind::WINDOW_UPDATE, 0, 0, &0x7fff_ffff_u32.to_be_bytes());
        send(server, &http2::connection(&[good, update.clone(), update]));
    });
}

#[test]
fn floods_of_frames_do_no_harm() {
    survives(|server| {
        let headers = call_headers(RANGE);
        let flood = |frames: Vec<Vec<u8>>| send(server, &http2::connection(&frames));
        flood(vec![http2::frame(kind::PING, 0, 0, &[0; 8]); 100_000]);
        flood(vec![http2::frame(kind::SETTINGS, 0, 0, &[0, 4, 0, 1, 0, 0]); 100_000]);
        // Calls that are reset at once.
        let resets = (0..50_000).map(|number| {
            let stream = 2 * number + 1;
            let call = http2::frame(kind::HEADERS, END_HEADERS, stream, &headers);
            [call, http2::frame(kind::RST_STREAM, 0, stream, &8_u32.to_be_bytes())].concat()
        });
        flood(resets.collect());
        // Header blocks without an end.
        let more = http2::header("x", &"y".repeat(100)).repeat(150);
        let mut endless = vec![http2::frame(kind::HEADERS, 0, 1, &headers)];
        endless.extend(vec![http2::frame(kind::CONTINUATION, 0, 1, &more); 2000]);
        flood(endless);
        flood(vec![
            [
                http2::frame(kind::HEADERS, 0, 1, &headers),
                vec![http2::frame(kind::CONTINUATION, 0, 1, &[]); 100_000].concat(),
            ]
            .concat(),
        ]);
        // Many small headers.
        let many = http2::header("x", "").repeat(4000);
        let call =
            http2::frame(kind::HEADERS, END_HEADERS | END_STREAM, 1, &[headers, many].concat());
        flood(vec![call]);
    });
}

#[test]
fn silent_clients_do_no_harm() {
    survives(|server| {
        let connect = |bytes: &[u8]| {
            let mut stream = TcpStream::connect(server.address()).unwrap();
            stream.write_all(bytes).unwrap();
            stream
        };
        let half = http2::connection(&[http2::frame(kind::HEADERS, 0, 1, &call_headers(RANGE))]);
        let begins: [&[u8]; 5] = [b"", b"GET /hea", &PREFACE[..5], PREFACE, &half];
        let silent: Vec<TcpStream> =
            (0..500).map(|number| connect(begins[number % begins.len()])).collect();
        block_on(serves(server));
        drop(silent);
    });
}

#[test]
fn thousands_of_streams_are_served() {
    survives(|server| {
        block_on(async {
            let connection = Connection::open(&server.address()).await;
            let create = frame(b"\x0a\x03\x0a\x01a");
            let mut calls = Vec::new();
            for _ in 0..5000 {
                let request = Connection::request(WATCH);
                calls.push(connection.start(request, create.clone(), false).await);
            }
            for call in &mut calls {
                assert!(call.wait_for_messages(1).await, "{:?}", call.so_far());
            }
            let answer = connection.method(RANGE, &[Bytes::from_static(b"\x0a\x01a")]).await;
            answer.assert_ok();
        });
    });
}

/// Size of a message to a member, whose last byte never arrives.
const HALF_BYTES: usize = 20_000_000;

/// Starts 120 calls on the peer port, on two connections, each with a message that lacks its last
/// byte.
async fn half_calls(
    server: &Server,
    method: &str,
    headers: &[(&'static str, String)],
) -> (Vec<Connection>, Vec<Call>) {
    let message: Bytes = frame_with(0, HALF_BYTES, &vec![0; HALF_BYTES - 1]);
    let address = server.peer_address();
    let mut connections = Vec::new();
    let mut calls = Vec::new();
    for _ in 0..2 {
        let connection = Connection::open(&address).await;
        for _ in 0..60 {
            let mut request = Connection::request(&format!("/quorate.peer.v1.Peer/{method}"));
            for (name, value) in headers {
                request.headers_mut().insert(*name, value.parse().unwrap());
            }
            calls.push(connection.start(request, message.clone(), false).await);
        }
        connections.push(connection);
    }
    (connections, calls)
}

/// Headers that claim to come from a member that the cluster does not know yet.
async fn claimed(server: &Server) -> Vec<(&'static str, String)> {
    let channel = Endpoint::from_shared(server.peer_url()).unwrap().connect().await.unwrap();
    let known = PeerClient::new(channel).describe(DescribeRequest {}).await.unwrap().into_inner();
    let to = format!("{:x}.{:x}", known.member_id, known.incarnation);
    let cluster = format!("{:x}", known.cluster_id);
    let from = "7.7".to_owned();
    vec![("quorate-cluster", cluster), ("quorate-from", from), ("quorate-to", to)]
}

/// Calls without a claimed identity, and calls whose message is too long, are refused before the
/// message is read.
#[test]
fn unfinished_peer_messages_of_strangers_are_refused_unread() {
    survives(|server| {
        block_on(async {
            let claimed = claimed(server).await;
            let unclaimed: &[(&str, String)] = &[];
            for (headers, method, code) in [
                (unclaimed, "HashKV", "3"),
                (unclaimed, "Append", "3"),
                (unclaimed, "Describe", "11"),
                (&claimed, "HashKV", "11"),
                (&claimed, "ChangeMembers", "11"),
            ] {
                let (_connections, calls) = half_calls(server, method, headers).await;
                for call in calls {
                    let answer = call.end().await;
                    assert_eq!(answer.code.as_deref(), Some(code), "{method}: {answer:?}");
                }
                let memory = server.usage().peak_memory;
                assert!(memory < STRANGER_BYTES_MAX, "{method}: it used {memory} bytes");
            }
        });
    });
}

/// Callers that claim to be members may send large messages, but only as many at once as there is
/// memory for.
#[test]
fn unfinished_peer_messages_use_bounded_memory() {
    survives(|server| {
        block_on(async {
            let claimed = claimed(server).await;
            let _calls = half_calls(server, "Append", &claimed).await;
            let mut most = 0;
            let mut since = Instant::now();
            let quiet = async {
                while since.elapsed() < Duration::from_secs(1) {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    let now = server.usage().peak_memory;
                    assert!(now < MEMORY_BYTES_MAX, "it used {now} bytes");
                    if now > most + (1 << 20) {
                        (most, since) = (now, Instant::now());
                    }
                }
            };
            tokio::time::timeout(PATIENCE, quiet).await.unwrap();
            assert!(most > 2 * HALF_BYTES as u64, "messages were on their way: {most} bytes");
        });
    });
}

/// As in etcd, the server announces the limit and refuses further streams.
#[test]
fn streams_above_the_limit_are_refused() {
    for (flags, limit) in [(&[][..], u32::MAX), (&["--max-concurrent-streams=8"], 8)] {
        let Some(mut pair) = ServerPair::start("bad input, streams", flags) else { return };
        block_on(async {
            for (name, server) in pair.both() {
                let connection = Connection::open(&server.address()).await;
                connection.method(RANGE, &[Bytes::new()]).await;
                let told = u32::try_from(connection.streams_max()).unwrap_or(u32::MAX);
                assert_eq!(told, limit, "{name}");
            }
        });
        if limit == 8 {
            // RST_STREAM with REFUSED_STREAM for each stream after the eighth.
            let calls = (0..20).map(|number| {
                http2::frame(kind::HEADERS, END_HEADERS, 2 * number + 1, &call_headers(WATCH))
            });
            let said = send(&pair.quorate, &http2::connection(&calls.collect::<Vec<_>>()));
            let refused = (8..20).filter(|number| {
                let reset = http2::frame(kind::RST_STREAM, 0, 2 * number + 1, &7_u32.to_be_bytes());
                said.windows(reset.len()).any(|bytes| bytes == reset)
            });
            assert_eq!(refused.count(), 12);
        }
        pair.assert_sound();
    }
}

/// HTTP/1 requests get the status that etcd gives them.
#[test]
fn http_1_is_answered_as_by_etcd() {
    let Some(mut pair) = ServerPair::start("bad input, HTTP/1", &[]) else { return };
    let long = "x".repeat(2 << 20);
    let requests = [
        "POST /etcdserverpb.KV/Range HTTP/1.1\r\nHost: a\r\nContent-Type: application/grpc\r\n\
         Content-Length: 0\r\n\r\n"
            .to_owned(),
        "GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
        "GET /health HTTP/1.0\r\n\r\n".to_owned(),
        "GET /version HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
        "POST /version HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n".to_owned(),
        format!("GET / HTTP/1.1\r\nHost: a\r\nX: {long}\r\n\r\n"),
        "GET / HTTP/1.1\r\nHost a\r\n\r\n".to_owned(),
        "GET /health HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n".to_owned(),
    ];
    let status = |server: &Server, request: &str| {
        let closing = request.replacen("\r\n\r\n", "\r\nConnection: close\r\n\r\n", 1);
        let said = exchange(server, closing.as_bytes(), false);
        String::from_utf8_lossy(&said).split(' ').nth(1).map(str::to_owned)
    };
    let mut differences = Vec::new();
    for request in &requests {
        let [quorate, etcd] = pair.both().map(|(_, server)| status(server, request));
        if quorate != etcd {
            differences.push(format!("{:?}: quorate {quorate:?}, etcd {etcd:?}", &request[..20]));
        }
    }
    // etcd closes the connection without an answer to these.
    let path = format!("GET /{long} HTTP/1.1\r\nHost: a\r\n\r\n");
    for (request, expected) in [(path.as_str(), "431"), ("GET /nonsense x\r\n\r\n", "400")] {
        assert_eq!(status(&pair.quorate, request).as_deref(), Some(expected));
        assert_eq!(status(&pair.etcd, request), None);
    }
    block_on(serves(&pair.quorate));
    pair.assert_sound();
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}
