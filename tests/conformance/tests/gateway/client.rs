//! A client of the JSON gateway.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};

/// How long an answer may take.
pub(crate) const WITHIN: Duration = Duration::from_secs(30);

/// An answer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// The name of each header, in lower case, and its value.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or(Value::Null)
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(header, _)| header == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// An answer of which only the head has been read.
pub(crate) struct Open {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    reader: BufReader<TcpStream>,
}

impl Open {
    /// Sends a request with these lines of headers, and reads the head of the answer.
    pub(crate) fn send(address: &str, request: &str, headers: &str, body: &str) -> Self {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(WITHIN)).unwrap();
        let length = body.len();
        // In HTTP/1.0, an answer is not chunked.
        let head = format!("{request} HTTP/1.0\r\nContent-Length: {length}\r\n{headers}\r\n");
        stream.write_all((head + body).as_bytes()).unwrap();
        let mut reader = BufReader::new(stream);
        let mut head = Vec::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            match line.trim_end() {
                "" => break,
                line => head.push(line.to_owned()),
            }
        }
        let status = head[0].split(' ').nth(1).unwrap().parse().unwrap();
        let headers = head[1..].iter().map(|line| {
            let (name, value) = line.split_once(": ").unwrap();
            (name.to_lowercase(), value.to_owned())
        });
        Self { status, headers: headers.collect(), reader }
    }

    /// The next line of the body as JSON.
    pub(crate) fn line(&mut self) -> Value {
        let mut line = String::new();
        self.reader.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("{line:?}"))
    }

    /// The lines up to the next empty line.
    pub(crate) fn event(&mut self) -> String {
        let mut event = String::new();
        while !event.ends_with("\n\n") {
            let read = self.reader.read_line(&mut event).unwrap();
            assert!(read > 0, "the answer ended: {event:?}");
        }
        event.trim_end_matches('\n').to_owned() + "\n"
    }

    /// The rest of the body.
    pub(crate) fn rest(mut self) -> Answer {
        let mut text = String::new();
        self.reader.read_to_string(&mut text).unwrap();
        Answer { status: self.status, headers: self.headers, text }
    }
}

/// Sends a request.
pub(crate) fn ask(address: &str, request: &str, headers: &str, body: &str) -> Answer {
    Open::send(address, request, headers, body).rest()
}

/// Calls the method at a path of the gateway.
pub(crate) fn post(address: &str, path: &str, body: &str) -> Answer {
    ask(address, &format!("POST /v3/{path}"), "", body)
}

/// Fields whose values differ between Quorate and etcd, or between runs.
const OWN: [&str; 15] = [
    "cluster_id",
    "member_id",
    "ID",
    "raft_term",
    "raftTerm",
    "raftIndex",
    "raftAppliedIndex",
    "leader",
    "dbSize",
    "dbSizeInUse",
    "dbSizeQuota",
    "hash",
    "version",
    "clientURLs",
    "downgradeInfo",
];

/// The same JSON with a mark in place of each value that may differ.
pub(crate) fn normalised(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let fields = fields.into_iter().map(|(name, value)| {
                let is_own = OWN.contains(&name.as_str());
                (name, if is_own { json!("*") } else { normalised(value) })
            });
            Value::Object(fields.collect())
        }
        Value::Array(values) => Value::Array(values.into_iter().map(normalised).collect()),
        other => other,
    }
}
