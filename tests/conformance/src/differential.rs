//! Makes the same raw calls to Quorate and etcd, and compares the answers.

use bytes::Bytes;
use http::Request;
use prost::Message;
use quorate_proto::etcdserverpb as pb;

use crate::raw::{Answer, Connection, frame};
use crate::server_pair::ServerPair;

/// Both servers, and the differences found so far.
#[derive(Debug)]
pub struct Differential {
    /// Quorate's, then etcd's.
    addresses: [String; 2],
    /// Both processes, if this value owns them.
    pair: Option<ServerPair>,
    calls: usize,
    differences: Vec<String>,
}

impl Differential {
    /// Starts both servers with these additional flags; `None`, reported as a skip, without Go.
    ///
    /// # Panics
    /// If a server does not start.
    pub fn start(suite: &str, flags: &[&str]) -> Option<Self> {
        let pair = ServerPair::start(suite, flags)?;
        let mut differential = Self::at(pair.quorate.address(), pair.etcd.address());
        differential.pair = Some(pair);
        Some(differential)
    }

    /// Compares servers that already run at these addresses.
    pub fn at(quorate: String, etcd: String) -> Self {
        Self { addresses: [quorate, etcd], pair: None, calls: 0, differences: Vec::new() }
    }

    /// Sends `message` to the method at `path`; the answers must be equal byte for byte.
    ///
    /// # Panics
    /// If a server does not accept the connection.
    pub async fn compare(&mut self, what: &str, path: &str, message: &impl Message) {
        let body = frame(&message.encode_to_vec());
        self.compare_call(what, &Connection::request(path), &body).await;
    }

    /// Makes a call with any headers and body; the answers must be equal byte for byte.
    ///
    /// # Panics
    /// If a server does not accept the connection.
    pub async fn compare_call(&mut self, what: &str, request: &Request<()>, body: &Bytes) {
        let [quorate, etcd] = self.both(request, body).await;
        if quorate != etcd {
            self.note(what, &quorate, &etcd);
        }
    }

    /// Like [`compare_call`](Self::compare_call), but ignores the body, for answers with values
    /// that are specific to one server, such as sizes.
    ///
    /// # Panics
    /// If a server does not accept the connection.
    pub async fn compare_status(&mut self, what: &str, request: &Request<()>, body: &Bytes) {
        let [mut quorate, mut etcd] = self.both(request, body).await;
        (quorate.body, etcd.body) = Default::default();
        if quorate != etcd {
            self.note(what, &quorate, &etcd);
        }
    }

    /// Makes a call that Quorate answers differently on purpose. `why` gives the reason, and
    /// `expected` is Quorate's code with the start of its message. Also checks that etcd's answer
    /// differs, so that an obsolete exception is noticed.
    ///
    /// # Panics
    /// If a server does not accept the connection.
    pub async fn expect_difference(
        &mut self,
        what: &str,
        (request, body): (&Request<()>, &Bytes),
        why: &str,
        expected: (&str, &str),
    ) {
        let [quorate, etcd] = self.both(request, body).await;
        let is_end = |answer: &Answer| {
            answer.code.as_deref() == Some(expected.0) && answer.message.starts_with(expected.1)
        };
        if !is_end(&quorate) {
            self.note(&format!("{what} (not as said: {why})"), &quorate, &etcd);
        }
        if is_end(&etcd) {
            self.note(&format!("{what} (no difference any more: {why})"), &quorate, &etcd);
        }
    }

    /// The answers of both, Quorate's first, each over its own connection.
    ///
    /// # Panics
    /// If a server does not accept the connection.
    pub async fn both(&mut self, request: &Request<()>, body: &Bytes) -> [Answer; 2] {
        self.calls += 1;
        let [quorate, etcd] = &self.addresses;
        let (quorate, etcd) = tokio::join!(call(quorate, request, body), call(etcd, request, body));
        [quorate, etcd]
    }

    /// Reports the result of the comparison.
    ///
    /// # Panics
    /// If there was a difference, or Quorate ended, panicked or no longer serves.
    pub async fn finish(mut self) {
        if let Some(pair) = &mut self.pair {
            pair.assert_sound();
        }
        let connection = Connection::open(&self.addresses[0]).await;
        let status = connection.method("/etcdserverpb.Maintenance/Status", &[Bytes::new()]).await;
        assert_eq!(status.code.as_deref(), Some("0"), "it does not serve any more: {status:?}");
        let count = self.differences.len();
        let calls = self.calls;
        assert!(count == 0, "{count} of {calls} calls differ:\n\n{}", self.differences.join("\n"));
    }

    fn note(&mut self, what: &str, quorate: &Answer, etcd: &Answer) {
        self.differences.push(format!("{what}\n  quorate: {quorate:?}\n  etcd:    {etcd:?}\n"));
    }
}

async fn call(address: &str, request: &Request<()>, body: &Bytes) -> Answer {
    let connection = Connection::open(address).await;
    let mut answer = plain(connection.call(request.clone(), body.clone()).await);
    if request.uri().path() == "/etcdserverpb.KV/RangeStream" {
        answer.body = in_order::<pb::RangeStreamResponse>(&answer).into();
    }
    answer
}

/// The messages of an answer, re-encoded with fields in the order of their numbers. Quorate writes
/// a streamed range's header after its keys, which is another encoding of the same message.
fn in_order<M: Message + Default>(answer: &Answer) -> Bytes {
    let messages = answer.messages().into_iter().map(|message| {
        let message = M::decode(message).expect("both answer with protobuf");
        frame(&message.encode_to_vec())
    });
    messages.collect::<Vec<_>>().concat().into()
}

/// Undoes a deliberate variation in Go's protobuf library: from build to build, its error texts
/// have ordinary or no-break spaces.
fn plain(answer: Answer) -> Answer {
    Answer { message: answer.message.replace('\u{a0}', " "), ..answer }
}
