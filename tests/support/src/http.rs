//! Plain HTTP requests to a server under test.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::metrics::samples;

/// How long a server may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// The body of `GET path` at `address`, a `host:port`; `None` without an answer.
pub fn get(address: &str, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(ANSWER_WITHIN)).ok()?;
    // HTTP/1.0 without keep-alive: the server sends the body unchunked and closes the connection.
    let request = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned())
}

/// The sum of a metric over all its label sets, from `/metrics` at `address`.
pub fn metric(address: &str, name: &str) -> Option<f64> {
    let samples = samples(&get(address, "/metrics")?);
    Some(samples.iter().filter(|sample| sample.name == name).map(|sample| sample.value).sum())
}
