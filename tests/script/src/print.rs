//! Formats answers as text.

use std::fmt::Write as _;

use quorate_proto::etcdserverpb as pb;
use quorate_proto::etcdserverpb::response_op::Response;
use quorate_proto::mvccpb::event::EventType;
use quorate_proto::mvccpb::{Event, KeyValue};

use crate::target::Status;

/// Texts of at least this length are abbreviated if all their bytes are equal.
const REPEATED_BYTES_MIN: usize = 16;
/// At least this many equal lines are written as one.
const EQUAL_LINES_MIN: usize = 8;
/// How far below the granted TTL a TTL is still printed as `running`.
const RUNNING_SECONDS: i64 = 60;

/// Values that differ between runs and are printed as names.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Names {
    /// The id of the answering member.
    pub(crate) member_id: u64,
    /// The id that the server chose for a lease.
    pub(crate) lease: Option<i64>,
}

/// Writes answers as lines, indented by nesting.
#[derive(Debug)]
pub(crate) struct Printer {
    names: Names,
    text: String,
}

impl Printer {
    pub(crate) fn new(names: Names) -> Self {
        Self { names, text: String::new() }
    }

    /// The text, with long runs of equal lines merged.
    pub(crate) fn finish(self) -> String {
        let lines: Vec<&str> = self.text.lines().collect();
        let mut text = String::with_capacity(self.text.len());
        for run in lines.chunk_by(|a, b| a == b) {
            let (times, shown) = match run.len() {
                times if times >= EQUAL_LINES_MIN => (format!(" *{times}"), &run[..1]),
                _ => (String::new(), run),
            };
            for line in shown {
                writeln!(text, "{line}{times}").expect("a string grows");
            }
        }
        text
    }

    pub(crate) fn line(&mut self, depth: usize, line: &str) {
        writeln!(self.text, "{:width$}{line}", "", width = 2 * depth).expect("a string grows");
    }

    pub(crate) fn status(&mut self, status: &Status) {
        self.line(0, &format!("error {}: {}", status.code, status.message));
    }

    fn lease_id(&self, id: i64) -> String {
        if self.names.lease == Some(id) { "$lease".to_owned() } else { id.to_string() }
    }

    fn key_value(&self, kv: &KeyValue) -> String {
        let mut text = quote(&kv.key);
        if kv.create_revision != 0 || !kv.value.is_empty() {
            write!(text, "={}", quote(&kv.value)).expect("a string grows");
        }
        let numbers =
            [("create", kv.create_revision), ("mod", kv.mod_revision), ("version", kv.version)];
        for (name, number) in numbers {
            push_number(&mut text, name, number);
        }
        if kv.lease != 0 {
            write!(text, " lease={}", self.lease_id(kv.lease)).expect("a string grows");
        }
        text
    }

    pub(crate) fn range(&mut self, depth: usize, header: &str, response: &pb::RangeResponse) {
        let mut line = format!("range {header}");
        push_number(&mut line, "count", response.count);
        push_flag(&mut line, "more", response.more);
        self.line(depth, &line);
        for kv in &response.kvs {
            let row = self.key_value(kv);
            self.line(depth + 1, &row);
        }
    }

    pub(crate) fn put(&mut self, depth: usize, header: &str, response: &pb::PutResponse) {
        self.line(depth, &format!("put {header}"));
        if let Some(prev) = &response.prev_kv {
            let row = self.key_value(prev);
            self.line(depth + 1, &format!("prev {row}"));
        }
    }

    pub(crate) fn delete(
        &mut self,
        depth: usize,
        header: &str,
        response: &pb::DeleteRangeResponse,
    ) {
        let mut line = format!("del {header}");
        push_number(&mut line, "deleted", response.deleted);
        self.line(depth, &line);
        for prev in &response.prev_kvs {
            let row = self.key_value(prev);
            self.line(depth + 1, &format!("prev {row}"));
        }
    }

    pub(crate) fn txn(&mut self, depth: usize, header: &str, response: &pb::TxnResponse) {
        let outcome = if response.succeeded { "succeeded" } else { "failed" };
        self.line(depth, &format!("txn {header} {outcome}"));
        for op in &response.responses {
            match &op.response {
                None => self.line(depth + 1, "nothing"),
                Some(Response::ResponseRange(r)) => {
                    self.range(depth + 1, &inner_header(r.header.as_ref()), r);
                }
                Some(Response::ResponsePut(r)) => {
                    self.put(depth + 1, &inner_header(r.header.as_ref()), r);
                }
                Some(Response::ResponseDeleteRange(r)) => {
                    self.delete(depth + 1, &inner_header(r.header.as_ref()), r);
                }
                Some(Response::ResponseTxn(r)) => {
                    self.txn(depth + 1, &inner_header(r.header.as_ref()), r);
                }
            }
        }
    }

    /// An answer that has only a header.
    pub(crate) fn plain(&mut self, name: &str, header: &str) {
        self.line(0, &format!("{name} {header}"));
    }

    pub(crate) fn lease_grant(&mut self, response: &pb::LeaseGrantResponse) {
        let id = self.lease_id(response.id);
        let header = header(response.header.as_ref());
        let mut line = format!("grant {header} id={id} ttl={}", response.ttl);
        if !response.error.is_empty() {
            write!(line, " error={}", quote(response.error.as_bytes())).expect("a string grows");
        }
        self.line(0, &line);
    }

    pub(crate) fn time_to_live(&mut self, response: &pb::LeaseTimeToLiveResponse) {
        let id = self.lease_id(response.id);
        let granted = response.granted_ttl;
        let running = granted > 0 && (granted - RUNNING_SECONDS..=granted).contains(&response.ttl);
        let ttl = if running { "running".to_owned() } else { response.ttl.to_string() };
        let header = header(response.header.as_ref());
        self.line(0, &format!("ttl {header} id={id} granted={granted} ttl={ttl}"));
        let mut keys = response.keys.clone();
        keys.sort();
        for key in keys {
            self.line(1, &quote(&key));
        }
    }

    pub(crate) fn leases(&mut self, response: &pb::LeaseLeasesResponse) {
        self.line(0, &format!("leases {}", header(response.header.as_ref())));
        for lease in &response.leases {
            let id = self.lease_id(lease.id);
            self.line(1, &id);
        }
    }

    pub(crate) fn keep_alive(&mut self, response: &pb::LeaseKeepAliveResponse) {
        let id = self.lease_id(response.id);
        let header = header(response.header.as_ref());
        self.line(0, &format!("keepalive {header} id={id} ttl={}", response.ttl));
    }

    pub(crate) fn hash_kv(&mut self, response: &pb::HashKvResponse) {
        let pb::HashKvResponse { hash, compact_revision, hash_revision, .. } = *response;
        let header = header(response.header.as_ref());
        let line = format!("hashkv {header} hash={hash:08x} compact={compact_revision} at=");
        self.line(0, &format!("{line}{hash_revision}"));
    }

    pub(crate) fn alarm(&mut self, response: &pb::AlarmResponse) {
        self.line(0, &format!("alarm {}", header(response.header.as_ref())));
        let own = self.names.member_id;
        let mut lines: Vec<String> = response
            .alarms
            .iter()
            .map(|alarm| {
                let kind = pb::AlarmType::try_from(alarm.alarm);
                let kind =
                    kind.map_or_else(|_| alarm.alarm.to_string(), |k| k.as_str_name().to_owned());
                if alarm.member_id == own {
                    format!("{kind} self")
                } else {
                    format!("{kind} {}", alarm.member_id)
                }
            })
            .collect();
        lines.sort();
        lines.iter().for_each(|line| self.line(1, line));
    }

    /// A watch response without events.
    pub(crate) fn notice(&mut self, response: &pb::WatchResponse) {
        let mut words = Vec::new();
        words.extend(response.created.then_some("created"));
        words.extend(response.canceled.then_some("canceled"));
        if words.is_empty() {
            words.push("progress");
        }
        let header = header(response.header.as_ref());
        let mut line = format!("{} {header} id={}", words.join(" "), response.watch_id);
        push_number(&mut line, "compact", response.compact_revision);
        if !response.cancel_reason.is_empty() {
            write!(line, " reason={}", quote(response.cancel_reason.as_bytes()))
                .expect("a string grows");
        }
        push_flag(&mut line, "fragment", response.fragment);
        self.line(0, &line);
    }

    /// A watch response with events.
    pub(crate) fn events(&mut self, response: &pb::WatchResponse) {
        let header = header(response.header.as_ref());
        let mut line = format!("events {header} id={}", response.watch_id);
        push_flag(&mut line, "fragment", response.fragment);
        self.line(0, &line);
        response.events.iter().for_each(|event| self.event(event));
    }

    fn event(&mut self, event: &Event) {
        let kind = match EventType::try_from(event.r#type) {
            Ok(EventType::Put) => "put".to_owned(),
            Ok(EventType::Delete) => "delete".to_owned(),
            Err(_) => event.r#type.to_string(),
        };
        let kv = event.kv.as_ref().map_or_else(|| "nothing".to_owned(), |kv| self.key_value(kv));
        self.line(1, &format!("{kind} {kv}"));
        if let Some(prev) = &event.prev_kv {
            let row = self.key_value(prev);
            self.line(2, &format!("prev {row}"));
        }
    }
}

/// A header: only its revision is printed; ids and term must be set.
pub(crate) fn header(header: Option<&pb::ResponseHeader>) -> String {
    let Some(header) = header else { return "no-header".to_owned() };
    let mut text = format!("rev={}", header.revision);
    push_flag(&mut text, "without-cluster", header.cluster_id == 0);
    push_flag(&mut text, "without-member", header.member_id == 0);
    push_flag(&mut text, "without-term", header.raft_term == 0);
    text
}

/// The header of a nested answer: only the revision may be set.
fn inner_header(header: Option<&pb::ResponseHeader>) -> String {
    let Some(header) = header else { return "no-header".to_owned() };
    let mut text = format!("rev={}", header.revision);
    push_flag(&mut text, "with-cluster", header.cluster_id != 0);
    push_flag(&mut text, "with-member", header.member_id != 0);
    push_flag(&mut text, "with-term", header.raft_term != 0);
    text
}

fn push_number(text: &mut String, name: &str, number: i64) {
    if number != 0 {
        write!(text, " {name}={number}").expect("a string grows");
    }
}

fn push_flag(text: &mut String, name: &str, set: bool) {
    if set {
        write!(text, " {name}").expect("a string grows");
    }
}

/// Bytes as a word if possible, else quoted.
pub(crate) fn quote(bytes: &[u8]) -> String {
    let is_plain = |b: &u8| b.is_ascii_alphanumeric() || b"_-./@".contains(b);
    if let [first, rest @ ..] = bytes
        && bytes.len() >= REPEATED_BYTES_MIN
        && rest.iter().all(|b| b == first)
    {
        return format!("{}*{}", quote(&[*first]), bytes.len());
    }
    if !bytes.is_empty() && bytes.iter().all(is_plain) {
        return String::from_utf8_lossy(bytes).into_owned();
    }
    let mut text = String::from("\"");
    for byte in bytes {
        match byte {
            b'"' | b'\\' => text.extend(['\\', char::from(*byte)]),
            b' '..=b'~' => text.push(char::from(*byte)),
            _ => write!(text, "\\x{byte:02x}").expect("a string grows"),
        }
    }
    text.push('"');
    text
}
