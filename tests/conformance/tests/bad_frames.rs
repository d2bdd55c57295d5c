//! Bytes that gRPC never sends get etcd's answer, if etcd has one, and break nothing.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::Write as _;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::{HeaderValue, Method, Request};
use prost::Message as _;
use quorate_proto::etcdserverpb as pb;
use quorate_test_conformance::differential::Differential;
use quorate_test_conformance::raw::{Connection, frame, frame_with};
use quorate_test_support::server::Server;
use quorate_test_support::{block_on, program};

const RANGE: &str = "/etcdserverpb.KV/Range";

/// Methods that both servers have. None of them changes the members or the users, or waits for a
/// turn.
const METHODS: [&str; 24] = [
    RANGE,
    RANGE_STREAM,
    "/etcdserverpb.KV/Put",
    "/etcdserverpb.KV/DeleteRange",
    "/etcdserverpb.KV/Txn",
    "/etcdserverpb.KV/Compact",
    "/etcdserverpb.Lease/LeaseGrant",
    "/etcdserverpb.Lease/LeaseRevoke",
    "/etcdserverpb.Lease/LeaseTimeToLive",
    "/etcdserverpb.Lease/LeaseLeases",
    KEEP_ALIVE,
    "/etcdserverpb.Cluster/MemberList",
    "/etcdserverpb.Maintenance/Alarm",
    "/etcdserverpb.Maintenance/Status",
    "/etcdserverpb.Maintenance/Defragment",
    "/etcdserverpb.Maintenance/Hash",
    "/etcdserverpb.Maintenance/HashKV",
    "/etcdserverpb.Maintenance/MoveLeader",
    WATCH,
    "/v3electionpb.Election/Proclaim",
    "/v3electionpb.Election/Leader",
    "/v3electionpb.Election/Resign",
    "/v3lockpb.Lock/Unlock",
    "/grpc.health.v1.Health/Check",
];

/// An empty message, which is valid for every method.
fn nothing() -> Bytes {
    frame(&[])
}

#[test]
fn invalid_protobuf_is_answered_as_by_etcd() {
    let bad: [(&str, &[u8]); 9] = [
        ("a tag without end", &[0xff; 11]),
        ("a field with the number 0", &[0x00, 0x01]),
        ("a wire type that does not exist", &[0x0f, 0x01]),
        ("the end of a group that did not begin", &[0x0c]),
        ("a group without end", &[0x0b, 0x08]),
        ("a length beyond the end", &[0x0a, 0x05, 0x61]),
        ("a length of 2^63", &[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]),
        ("a number without end", &[0x18, 0xff, 0xff]),
        ("noise", b"\x8fQ#\xfa\x11\x9d\x07\xe6\xb0,\xd4\x83"),
    ];
    block_on(async {
        let Some(mut differential) = Differential::start("bad frames, protobuf", &[]) else {
            return;
        };
        for method in METHODS {
            for (what, bytes) in bad {
                let what = format!("{method}: {what}");
                differential
                    .compare_status(&what, &Connection::request(method), &frame(bytes))
                    .await;
            }
        }
        // Unknown fields are not errors.
        let unknown: [&[u8]; 3] = [
            &[0x0a, 0x01, b'a', 0xf8, 0x3f, 0x01],
            &[0x0a, 0x01, b'a', 0xfb, 0x3f, 0xfc, 0x3f],
            &[0x0a, 0x01, b'a', 0xf9, 0x3f, 0, 0, 0, 0, 0, 0, 0, 0],
        ];
        for bytes in unknown {
            let what = format!("unknown fields {bytes:?}");
            differential.compare_call(&what, &Connection::request(RANGE), &frame(bytes)).await;
        }
        // Wire type "bytes" for the limit, which is a varint.
        let other_type = frame(&[0x0a, 0x01, b'a', 0x1a, 0x01, 0x00]);
        let why = "Go's library skips a field of the wrong type as if it were unknown";
        let said = ("13", "grpc: error unmarshalling request: proto: cannot parse");
        let call = (&Connection::request(RANGE), &other_type);
        differential.expect_difference("a field of the wrong type", call, why, said).await;
        let not_text = frame(&[0x0a, 0x02, 0xff, 0xfe]);
        let why = "Go's library names the field";
        let call = (&Connection::request("/grpc.health.v1.Health/Check"), &not_text);
        differential.expect_difference("text that is none", call, why, said).await;
        differential.finish().await;
    });
}

/// Methods with one request message and one answer message.
const UNARY: [&str; 6] = [
    RANGE,
    "/etcdserverpb.KV/Put",
    "/etcdserverpb.Lease/LeaseLeases",
    "/etcdserverpb.Cluster/MemberList",
    "/etcdserverpb.Maintenance/Status",
    "/grpc.health.v1.Health/Check",
];
const RANGE_STREAM: &str = "/etcdserverpb.KV/RangeStream";
const KEEP_ALIVE: &str = "/etcdserverpb.Lease/LeaseKeepAlive";
const WATCH: &str = "/etcdserverpb.Watch/Watch";

#[test]
fn invalid_frames_are_answered_as_by_etcd() {
    // A field that no method has.
    let message = b"\xfa\x3f\x03abc";
    let whole = frame(message);
    let length = message.len();
    let wrong: [(&str, Bytes); 9] = [
        ("a head without a body", whole.slice(..5)),
        ("half a message", whole.slice(..8)),
        ("the compressed flag", frame_with(1, length, message)),
        ("a flag that does not exist", frame_with(2, length, message)),
        ("all flags", frame_with(255, length, message)),
        ("a claim of 2 MiB and a byte", frame_with(0, (2 << 20) + 1, message)),
        ("a claim of 4 GiB", frame_with(0, u32::MAX as usize, message)),
        ("a compressed claim of 4 GiB", frame_with(1, u32::MAX as usize, message)),
        ("a flag and a claim of 4 GiB", frame_with(7, u32::MAX as usize, message)),
    ];
    block_on(async {
        let Some(mut differential) = Differential::start("bad frames, frames", &[]) else { return };
        for method in UNARY.into_iter().chain([RANGE_STREAM, KEEP_ALIVE, WATCH]) {
            for (what, body) in &wrong {
                let what = format!("{method}: {what}");
                differential.compare_status(&what, &Connection::request(method), body).await;
            }
        }
        for method in UNARY {
            let request = Connection::request(method);
            for (what, body) in [
                ("half a head", whole.slice(..3)),
                ("two messages", [whole.clone(), whole.clone()].concat().into()),
                ("a message and a half", [whole.clone(), whole.slice(..7)].concat().into()),
                ("a message and a bit", [whole.clone(), whole.slice(..2)].concat().into()),
                ("a message and nonsense", [&whole[..], &[9; 30]].concat().into()),
            ] {
                differential.compare_status(&format!("{method}: {what}"), &request, &body).await;
            }
        }
        differential
            .compare_status("half a head", &Connection::request(RANGE_STREAM), &whole.slice(..3))
            .await;
        differential
            .compare_status("half a head", &Connection::request(KEEP_ALIVE), &whole.slice(..3))
            .await;
        let twice = [everything(), everything()].concat().into();
        differential
            .expect_difference(
                "a stream of answers to two questions",
                (&Connection::request(RANGE_STREAM), &twice),
                "the first message is answered when it has arrived, without waiting for another",
                ("0", ""),
            )
            .await;
        differential
            .compare_call("the keys are the same", &Connection::request(RANGE), &everything())
            .await;
        differential.finish().await;
    });
}

/// Calls whose HEADERS frame already ends the stream. etcd never answers them, so only Quorate is
/// tested.
#[test]
fn calls_without_a_body_are_answered() {
    let mut server = Server::start_new(&program::quorate(), &[]);
    block_on(async {
        for (methods, code, message) in [
            (&UNARY[..], "2", "EOF"),
            (&[RANGE_STREAM], "13", "cardinality violation"),
            (&[KEEP_ALIVE], "0", ""),
        ] {
            for method in methods {
                let connection = Connection::open(&server.address()).await;
                let answer = connection.call(Connection::request(method), Bytes::new()).await;
                assert_eq!(answer.code.as_deref(), Some(code), "{method}: {answer:?}");
                assert!(answer.message.starts_with(message), "{method}: {answer:?}");
            }
        }
    });
    assert!(server.exit_status().is_none());
}

/// Deeply nested groups in an unknown field, up to the limit for messages. A recursive decoder
/// would overflow its stack.
#[test]
fn deeply_nested_groups_are_answered_as_by_etcd() {
    let deep = |depth: usize| frame(&[vec![0x7b; depth], vec![0x7c; depth]].concat());
    block_on(async {
        let Some(mut differential) = Differential::start("bad frames, groups", &[]) else { return };
        let methods = METHODS.into_iter().filter(|method| *method != WATCH);
        for method in methods.clone() {
            let request = Connection::request(method);
            for depth in [1, 60, 20_000, 700_000] {
                differential
                    .compare_status(&format!("{method}: {depth}"), &request, &deep(depth))
                    .await;
            }
            let why = "no message of the protocol has a group: Quorate takes a few, etcd 10 000";
            let said = ("13", "grpc: ");
            differential.expect_difference(method, (&request, &deep(1000)), why, said).await;
        }
        for depth in [20_000, 700_000] {
            let what = format!("Watch: {depth}");
            differential.compare_status(&what, &Connection::request(WATCH), &deep(depth)).await;
        }
        differential.finish().await;
    });
}

/// A range over all keys.
fn everything() -> Bytes {
    frame(b"\x0a\x01\0\x12\x01\0")
}

fn with(name: &'static str, value: &'static [u8]) -> Request<()> {
    let mut request = Connection::request(RANGE);
    request.headers_mut().insert(name, HeaderValue::from_bytes(value).unwrap());
    request
}

#[test]
fn unusual_headers_are_answered_as_by_etcd() {
    block_on(async {
        let Some(mut differential) = Differential::start("bad frames, headers", &[]) else {
            return;
        };
        for value in ["application/grpc+proto", "application/grpc+json", "application/grpc;a=b"] {
            let request = with("content-type", value.as_bytes());
            differential.compare_status(value, &request, &everything()).await;
        }
        for value in ["", "text/plain", "application/json", "application/grpc-web", "APPLICATION"] {
            let request = with("content-type", value.as_bytes());
            differential
                .compare_status(&format!("content type {value:?}"), &request, &everything())
                .await;
        }
        let mut request = Connection::request(RANGE);
        request.headers_mut().remove("content-type");
        differential.compare_status("no content type", &request, &everything()).await;
        let mut request = Connection::request(RANGE);
        request.headers_mut().remove("te");
        differential.compare_status("no TE", &request, &everything()).await;
        for value in [
            "",
            "1",
            "S",
            "abc",
            "1X",
            "-1S",
            "+1S",
            "1.5S",
            "123456789S",
            "0S",
            "0n",
            "1n",
            "2562048H",
            "99999999H",
            "99999999M",
            "99999999S",
            "99999999m",
            "99999999u",
            "1s",
            "1h",
        ] {
            let request = with("grpc-timeout", value.as_bytes());
            differential
                .compare_status(&format!("timeout {value:?}"), &request, &everything())
                .await;
        }
        let why = "metadata that the protocol does not have is not read";
        let call = (&with("x-bin", b"not base64!"), &everything());
        differential.expect_difference("binary metadata that is none", call, why, ("0", "")).await;
        for (name, value) in [
            ("client-api-version", &b"\xff\xfe"[..]),
            ("client-api-version", b""),
            ("client-api-version", b"3.7"),
            ("hasleader", b"true"),
            ("hasleader", b"nonsense"),
            ("token", b"nonsense"),
            ("authorization", b"Bearer nonsense"),
        ] {
            let what = format!("{name}: {value:?}");
            differential.compare_status(&what, &with(name, value), &everything()).await;
        }
        differential.finish().await;
    });
}

#[test]
fn compressed_messages_are_answered_as_by_etcd() {
    let gzip = |bytes: &[u8]| {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    };
    let compressed = |bytes: &[u8]| frame_with(1, bytes.len(), bytes);
    block_on(async {
        let Some(mut differential) = Differential::start("bad frames, compression", &[]) else {
            return;
        };
        for value in ["gzip", "identity", "deflate", "nonsense"] {
            let request = with("grpc-encoding", value.as_bytes());
            let what = format!("{value}, not compressed");
            differential.compare_status(&what, &request, &everything()).await;
        }
        for value in ["identity", "deflate", "nonsense"] {
            let request = with("grpc-encoding", value.as_bytes());
            let what = format!("{value}, compressed");
            differential.compare_status(&what, &request, &compressed(b"xyz")).await;
        }
        let request = with("grpc-encoding", b"gzip");
        differential.compare_status("gzip", &request, &compressed(&gzip(&everything()[5..]))).await;
        let why = "the reason is that of another library";
        let cut = compressed(&gzip(&everything()[5..])[..12]);
        let said = ("13", "Error decompressing: ");
        differential.expect_difference("gzip, cut short", (&request, &cut), why, said).await;
        let bomb = compressed(&gzip(&vec![0; 64 << 20]));
        let said = ("8", "Error decompressing: size limit, of 2097152 bytes");
        differential.expect_difference("64 MiB in 64 KiB", (&request, &bomb), why, said).await;
        differential.finish().await;
    });
}

/// Small compressed messages are charged by their own size, so a client may send many at once.
#[test]
fn many_small_compressed_messages_are_served() {
    const MESSAGES: usize = 400;
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(&pb::LeaseKeepAliveRequest { id: 7 }.encode_to_vec()).unwrap();
    let message = encoder.finish().unwrap();
    let body = frame_with(1, message.len(), &message).repeat(MESSAGES);
    block_on(async {
        let mut server = Server::new(&program::quorate(), &["--memory-budget=178956970"]);
        server.start();
        let connection = Connection::open(&server.address()).await;
        let mut request = Connection::request(KEEP_ALIVE);
        request.headers_mut().insert("grpc-encoding", "gzip".parse().unwrap());
        let answer = connection.call(request, body.into()).await;
        answer.assert_ok();
        assert_eq!(answer.messages().len(), MESSAGES);
    });
}

#[test]
fn unknown_methods_are_answered_as_by_etcd() {
    block_on(async {
        let Some(mut differential) = Differential::start("bad frames, methods", &[]) else {
            return;
        };
        for path in [
            "/",
            "/etcdserverpb.KV",
            "/etcdserverpb.KV/",
            "/etcdserverpb.KV/range",
            "/etcdserverpb.KV/Range/",
            "/etcdserverpb.KV/Range/more",
            "/etcdserverpb.KV/Watch",
            "/etcdserverpb.Watch/Range",
            "/etcdserverpb.Nothing/Range",
            "//etcdserverpb.KV/Range",
            "/KV/Range",
            "/etcdserverpb.KV/Range?x=y",
            "/%65tcdserverpb.KV/Range",
            "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
            "/grpc.health.v1.Health/Nothing",
        ] {
            differential.compare_call(path, &Connection::request(path), &nothing()).await;
        }
        for method in [Method::GET, Method::PUT, Method::HEAD, Method::OPTIONS] {
            let mut request = Connection::request(RANGE);
            *request.method_mut() = method.clone();
            differential.compare_status(method.as_ref(), &request, &everything()).await;
        }
        differential.finish().await;
    });
}
