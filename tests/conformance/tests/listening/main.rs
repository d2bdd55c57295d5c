//! Ports: which clients are served, and the effects of misbehaving clients on the others.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod addresses;
mod descriptors;
mod frames;
mod logs;
mod rejections;
mod silence;
mod stopping;

use std::io::Read as _;
use std::net::TcpStream;
use std::time::Duration;

use bytes::Bytes;
use quorate_proto::etcdserverpb as pb;
use quorate_test_conformance::raw::Connection;
use quorate_test_support::http2;

const RANGE: &str = "/etcdserverpb.KV/Range";
const PUT: &str = "/etcdserverpb.KV/Put";

/// How long a server may take for an immediate action, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// The headers of a call; `authority` is its encoded authority field.
fn call_headers(path: &str, authority: &[u8]) -> Vec<u8> {
    let content_type = [vec![0x0f, 0x10], http2::text("application/grpc")].concat();
    // `:method` POST, `:scheme` http.
    [&[0x83, 0x86], &[&[0x04][..], &http2::text(path)].concat()[..], authority, &content_type]
        .concat()
}

fn connect(address: &str) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Reads a frame from the server: type, flags, stream; `None` at the end.
fn read_frame(stream: &mut TcpStream) -> Option<(u8, u8, u32)> {
    let mut head = [0; 9];
    stream.read_exact(&mut head).ok()?;
    let [a, b, c, kind, flags, number @ ..] = head;
    let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
    stream.read_exact(&mut payload).ok()?;
    Some((kind, flags, u32::from_be_bytes(number)))
}

fn encoded(message: &impl prost::Message) -> Bytes {
    message.encode_to_vec().into()
}

/// Puts a value and asserts that the put is acknowledged.
async fn put(connection: &Connection, value: Vec<u8>) {
    let request = pb::PutRequest { key: "k".into(), value: value.into(), ..Default::default() };
    let answer = connection.method(PUT, &[encoded(&request)]).await;
    answer.assert_ok();
}
