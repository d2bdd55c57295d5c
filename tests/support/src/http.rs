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
    let (head, body) = ask_with(address, method, path, &[])?;
    Some((head, String::from_utf8(body).ok()?))
}

/// Like [`ask`], with these headers; the body can be any bytes.
pub fn ask_with(
    address: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
) -> Option<(String, Vec<u8>)> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(ANSWER_WITHIN)).ok()?;
    // HTTP/1.0 without keep-alive: the server sends the body unchunked and closes the connection.
    let mut request = format!("{method} {path} HTTP/1.0\r\nHost: {address}\r\n");
    for (name, value) in headers {
        request.extend([name, ": ", value, "\r\n"]);
    }
    stream.write_all(format!("{request}\r\n").as_bytes()).ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n")?;
    let body = answer.split_off(end + 4);
    answer.truncate(end);
    Some((String::from_utf8(answer).ok()?, body))
}

/// The sum of a metric over all its label sets, from `/metrics` at `address`.
pub fn metric(address: &str, name: &str) -> Option<f64> {
    let samples = samples(&get(address, "/metrics")?);
    Some(samples.iter().filter(|sample| sample.name == name).map(|sample| sample.value).sum())
}
