//! Ports: which clients are served, and what misbehaving ones can do to the others.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod addresses;
mod descriptors;
mod frames;
mod logs;
mod stopping;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use bytes::Bytes;
use quorate_proto::etcdserverpb as pb;
use quorate_test_conformance::raw::Connection;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const RANGE: &str = "/etcdserverpb.KV/Range";
const PUT: &str = "/etcdserverpb.KV/Put";

/// How long a server may take for an immediate action, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

fn run<T>(suite: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(suite)
}

/// An HTTP/2 frame.
fn h2_frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// The beginning of an HTTP/2 connection, followed by these frames.
fn http2(frames: &[Vec<u8>]) -> Vec<u8> {
    [PREFACE.to_vec(), h2_frame(SETTINGS, 0, 0, &[]), frames.concat()].concat()
}

/// A string of a header block, without Huffman coding.
fn text(text: &str) -> Vec<u8> {
    let length = u8::try_from(text.len()).ok().filter(|length| *length < 127).unwrap();
    [&[length], text.as_bytes()].concat()
}

/// The headers of a call; `authority` is its encoded authority field.
fn call_headers(path: &str, authority: &[u8]) -> Vec<u8> {
    let content_type = [vec![0x0f, 0x10], text("application/grpc")].concat();
    // `:method` POST, `:scheme` http.
    [&[0x83, 0x86], &[&[0x04][..], &text(path)].concat()[..], authority, &content_type].concat()
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

/// Makes an HTTP/1 request and returns the whole answer.
fn http1(address: &str, request: &str) -> String {
    let mut stream = connect(address);
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn encoded(message: &impl prost::Message) -> Bytes {
    message.encode_to_vec().into()
}

/// Puts a value and asserts that the put is acknowledged.
async fn put(connection: &Connection, value: Vec<u8>) {
    let request = pb::PutRequest { key: "k".into(), value: value.into(), ..Default::default() };
    let answer = connection.method(PUT, &[encoded(&request)]).await;
    assert_eq!(answer.code.as_deref(), Some("0"), "{answer:?}");
}
