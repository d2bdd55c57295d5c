//! Plain HTTP requests to a server under test.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::metrics::samples;

/// How long a server may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// The body of `GET path` at `address`, a `host:port`; `None` without an answer.
pub fn get(address: &str, path: &str) -> Option<String> {
    ask(address, "GET", path).map(|(_, body)| body)
}

/// The head and the body of the answer to a request without a body; `None` without an answer.
pub fn ask(address: &str, method: &str, path: &str) -> Option<(String, String)> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(ANSWER_WITHIN)).ok()?;
    // HTTP/1.0 without keep-alive: the server sends the body unchunked and closes the connection.
    let request = format!("{method} {path} HTTP/1.0\r\nHost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.to_owned(), body.to_owned()))
}

/// The sum of a metric over all its label sets, from `/metrics` at `address`.
pub fn metric(address: &str, name: &str) -> Option<f64> {
    let samples = samples(&get(address, "/metrics")?);
    Some(samples.iter().filter(|sample| sample.name == name).map(|sample| sample.value).sum())
}
