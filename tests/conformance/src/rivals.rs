//! The same raw call to Quorate and to etcd, and what may differ between the answers.

use bytes::Bytes;
use http::Request;
use prost::Message;
use quorate_proto::etcdserverpb as pb;

use crate::pair::Pair;
use crate::raw::{Answer, Connection, frame};

/// Both servers, and where their answers differed so far.
#[derive(Debug)]
pub struct Rivals {
    /// Quorate's, then etcd's.
    addresses: [String; 2],
    /// Both processes, unless somebody else looks after them.
    pair: Option<Pair>,
    calls: usize,
    differences: Vec<String>,
}

impl Rivals {
    /// Starts both servers with these flags besides; `None`, said loudly, without Go.
    ///
    /// # Panics
    /// When one does not start.
    pub fn start(suite: &str, flags: &[&str]) -> Option<Self> {
        let pair = Pair::start(suite, flags)?;
        let mut rivals = Self::at(pair.quorate.address(), pair.etcd.address());
        rivals.pair = Some(pair);
        Some(rivals)
    }

    /// Servers that run at these addresses.
    pub fn at(quorate: String, etcd: String) -> Self {
        Self { addresses: [quorate, etcd], pair: None, calls: 0, differences: Vec::new() }
    }

    /// Sends `message` to the method at `path`; the answers must be the same to the last byte.
    ///
    /// # Panics
    /// When a server does not answer at all.
    pub async fn same(&mut self, what: &str, path: &str, message: &impl Message) {
        let body = frame(&message.encode_to_vec());
        self.same_call(what, &Connection::request(path), &body).await;
    }

    /// Makes a call with any headers and any body; the answers must be the same to the last byte.
    ///
    /// # Panics
    /// When a server does not answer at all.
    pub async fn same_call(&mut self, what: &str, request: &Request<()>, body: &Bytes) {
        let [quorate, etcd] = self.both(request, body).await;
        if quorate != etcd {
            self.note(what, &quorate, &etcd);
        }
    }

    /// Like [`same_call`](Self::same_call) for answers that name what only one server has, such as
    /// sizes: only how the calls end is compared.
    ///
    /// # Panics
    /// When a server does not answer at all.
    pub async fn same_end(&mut self, what: &str, request: &Request<()>, body: &Bytes) {
        let [mut quorate, mut etcd] = self.both(request, body).await;
        (quorate.body, etcd.body) = Default::default();
        if quorate != etcd {
            self.note(what, &quorate, &etcd);
        }
    }

    /// Makes a call that Quorate answers otherwise than etcd, on purpose: `why` says which, and
    /// `expected` is Quorate's code with the start of its message. That etcd's answer is another
    /// one is checked too, so that the exception goes when its reason does.
    ///
    /// # Panics
    /// When a server does not answer at all.
    pub async fn differs(
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

    /// The answers of both, Quorate's first, each over a connection of its own.
    ///
    /// # Panics
    /// When a server does not answer at all.
    pub async fn both(&mut self, request: &Request<()>, body: &Bytes) -> [Answer; 2] {
        self.calls += 1;
        let [quorate, etcd] = &self.addresses;
        let (quorate, etcd) = tokio::join!(call(quorate, request, body), call(etcd, request, body));
        [quorate, etcd]
    }

    /// Ends the comparison.
    ///
    /// # Panics
    /// When there was a difference, or Quorate did not survive.
    pub async fn finish(mut self) {
        if let Some(pair) = &mut self.pair {
            pair.assert_sound();
        }
        let connection = Connection::open(&self.addresses[0]).await;
        let status = connection.method("/etcdserverpb.Maintenance/Status", &[Bytes::new()]).await;
        assert_eq!(status.code.as_deref(), Some("0"), "it does not serve any more: {status:?}");
        let (count, calls) = (self.differences.len(), self.calls);
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

/// The messages of an answer with their fields in the order of their numbers. Quorate writes the
/// header of a streamed range behind its keys, which is another encoding of the same message.
fn in_order<M: Message + Default>(answer: &Answer) -> Bytes {
    let messages = answer.messages().into_iter().map(|message| {
        let message = M::decode(message).expect("both answer with protobuf");
        frame(&message.encode_to_vec())
    });
    messages.collect::<Vec<_>>().concat().into()
}

/// The answer without what Go's protobuf library varies on purpose from build to build: which kind
/// of space stands in the text of an error.
fn plain(answer: Answer) -> Answer {
    Answer { message: answer.message.replace('\u{a0}', " "), ..answer }
}
