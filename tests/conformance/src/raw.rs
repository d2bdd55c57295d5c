//! Hand-made gRPC: requests that no client library sends, and answers as they are on the wire.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use h2::client::SendRequest;
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Method, Request, header};
use percent_encoding::percent_decode_str;
use prost::Message;
use quorate_test_support::server::Server;
use quorate_test_support::{block_on, grpc};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

/// How long a call may take to end.
const END_WITHIN: Duration = Duration::from_secs(10);

/// A message as framed in a gRPC stream: uncompressed, with its length.
pub fn frame(message: &[u8]) -> Bytes {
    frame_with(0, message.len(), message)
}

/// A frame with any flag and any claimed length.
pub fn frame_with(flag: u8, claimed: usize, message: &[u8]) -> Bytes {
    grpc::frame_with(flag, claimed, message).into()
}

/// Calls a method over a new connection, and waits for the end.
///
/// # Panics
/// If the server refuses the connection, or the connection is lost.
pub fn call(server: &Server, path: &str, message: &impl Message) -> Answer {
    block_on(async {
        let connection = Connection::open(&server.address()).await;
        connection.method(path, &[message.encode_to_vec().into()]).await
    })
}

/// A call's answer, complete or so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub http_status: u16,
    /// The content type.
    pub content_type: String,
    /// `grpc-status`, from the trailers or the headers.
    pub code: Option<String>,
    /// `grpc-message`, decoded.
    pub message: String,
    /// The body: framed gRPC messages, or a page.
    pub body: BytesMut,
    /// The error with which the stream ended, or a note that it did not end in time.
    pub reset: Option<String>,
}

impl Answer {
    fn take(&mut self, headers: &HeaderMap) {
        let text = |name: &str| {
            headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
        };
        if let Some(code) = text("grpc-status") {
            self.code = Some(code);
        }
        if let Some(message) = text("grpc-message") {
            self.message = percent_decode_str(&message).decode_utf8_lossy().into_owned();
        }
    }

    /// Asserts that the call succeeded.
    ///
    /// # Panics
    /// If it failed, or its stream was reset.
    #[track_caller]
    pub fn assert_ok(&self) {
        let Self { code, message, reset, .. } = self;
        assert!(code.as_deref() == Some("0") && reset.is_none(), "{code:?} {message} {reset:?}");
    }

    /// Decodes the only message in the body.
    ///
    /// # Panics
    /// If there is none, or it cannot be decoded.
    pub fn decode<T: Message + Default>(&self) -> T {
        T::decode(self.messages().remove(0)).expect("the answer can be decoded")
    }

    /// The messages in the body, without their frames.
    ///
    /// # Panics
    /// If the body does not consist of whole messages.
    pub fn messages(&self) -> Vec<Bytes> {
        let mut rest = self.body.clone().freeze();
        let mut messages = Vec::new();
        while !rest.is_empty() {
            let head = rest.split_to(5);
            let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]);
            messages.push(rest.split_to(usize::try_from(length).expect("it is in memory")));
        }
        messages
    }
}

/// An HTTP/2 connection with prior knowledge.
#[derive(Debug)]
pub struct Connection {
    requests: SendRequest<Bytes>,
    driver: JoinHandle<()>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Connection {
    /// Connects to `address`, a `host:port`.
    ///
    /// # Panics
    /// If the server refuses the connection or does not speak HTTP/2.
    pub async fn open(address: &str) -> Self {
        Self::try_open(address).await.expect("the server accepts connections")
    }

    /// Like [`open`](Self::open), with an error if the server refuses the connection.
    ///
    /// # Errors
    /// If no server listens at `address`.
    ///
    /// # Panics
    /// If the server does not speak HTTP/2.
    pub async fn try_open(address: &str) -> std::io::Result<Self> {
        Self::try_open_with_windows(address, 1 << 30, 1 << 30).await
    }

    /// Connects to `address` with these flow-control windows: the bytes that the server may send on
    /// a stream, and on the connection, before they are read.
    ///
    /// # Panics
    /// If the server refuses the connection or does not speak HTTP/2.
    pub async fn open_with_windows(address: &str, stream: u32, connection: u32) -> Self {
        let opened = Self::try_open_with_windows(address, stream, connection).await;
        opened.expect("the server accepts connections")
    }

    async fn try_open_with_windows(
        address: &str,
        stream_window: u32,
        connection_window: u32,
    ) -> std::io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true).expect("the connection is open");
        let mut builder = h2::client::Builder::new();
        builder.initial_window_size(stream_window);
        builder.initial_connection_window_size(connection_window);
        // A slow reader accumulates many small frames; h2 must not reject them.
        builder.data_frame_budget(1 << 30);
        let (requests, connection) = builder.handshake(stream).await.expect("HTTP/2 is spoken");
        let driver = connection_driver(connection);
        Ok(Self { requests, driver })
    }

    /// The server's limit of concurrent streams, known only after its first answer.
    pub fn streams_max(&self) -> usize {
        self.requests.current_max_send_streams()
    }

    /// A request for a gRPC method, with the usual headers.
    ///
    /// # Panics
    /// If `path` is not a path.
    pub fn request(path: &str) -> Request<()> {
        let mut request = Request::new(());
        *request.method_mut() = Method::POST;
        *request.uri_mut() = format!("http://server{path}").parse().expect("it is a path");
        let headers = request.headers_mut();
        headers.insert(header::CONTENT_TYPE, "application/grpc".parse().expect("it is a value"));
        headers.insert(header::TE, "trailers".parse().expect("it is a value"));
        request
    }

    /// Starts a call and sends `body` at once; `end` closes the request.
    ///
    /// # Panics
    /// If the connection is lost.
    pub async fn start(&self, request: Request<()>, body: Bytes, end: bool) -> Call {
        let mut requests = self.requests.clone().ready().await.expect("the connection lives");
        let empty = body.is_empty();
        let (response, mut stream) =
            requests.send_request(request, end && empty).expect("the request is well-formed");
        if !empty {
            stream.send_data(body, end).expect("the stream is open");
        }
        Call { response: Some(response), received: None, stream, answer: Answer::default() }
    }

    /// Makes a call with this body and waits for its end.
    ///
    /// # Panics
    /// If the connection is lost.
    pub async fn call(&self, request: Request<()>, body: Bytes) -> Answer {
        self.start(request, body, true).await.end().await
    }

    /// Calls a method with these messages, and waits for the end.
    ///
    /// # Panics
    /// If the connection is lost.
    pub async fn method(&self, path: &str, messages: &[Bytes]) -> Answer {
        let frames: Vec<Bytes> = messages.iter().map(|message| frame(message)).collect();
        self.call(Self::request(path), frames.concat().into()).await
    }
}

#[expect(clippy::disallowed_methods, reason = "it ends with the connection, which aborts it")]
fn connection_driver(connection: h2::client::Connection<TcpStream, Bytes>) -> JoinHandle<()> {
    tokio::spawn(async move {
        // The calls see connection errors themselves.
        let _end = connection.await;
    })
}

/// A call in progress.
#[derive(Debug)]
pub struct Call {
    response: Option<h2::client::ResponseFuture>,
    received: Option<RecvStream>,
    stream: SendStream<Bytes>,
    answer: Answer,
}

impl Call {
    /// Sends more of the body; `end` closes the request.
    ///
    /// # Panics
    /// If the request is closed.
    pub fn send(&mut self, body: Bytes, end: bool) {
        self.stream.send_data(body, end).expect("the stream is open");
    }

    /// Waits until the body has `count` whole messages; false if the call ended before.
    pub async fn wait_for_messages(&mut self, count: usize) -> bool {
        while whole_messages(&self.answer.body).0 < count {
            if !self.step().await {
                return false;
            }
        }
        true
    }

    /// Removes the whole messages received so far and returns them.
    ///
    /// # Panics
    /// Never: only whole messages are parsed.
    pub fn take_messages(&mut self) -> Vec<Bytes> {
        let rest = self.answer.body.split_off(whole_messages(&self.answer.body).1);
        let messages = self.answer.messages();
        self.answer.body = rest;
        messages
    }

    /// The answer received so far.
    pub fn so_far(&self) -> &Answer {
        &self.answer
    }

    /// Waits for the end of the call. If it does not end in time, `reset` says so.
    pub async fn end(mut self) -> Answer {
        let end = async { while self.step().await {} };
        if tokio::time::timeout(END_WITHIN, end).await.is_err() {
            self.answer.reset = Some("the call does not end".to_owned());
        }
        self.answer
    }

    /// Reads the next piece of the answer; false at the end.
    async fn step(&mut self) -> bool {
        if let Some(response) = self.response.take() {
            match response.await {
                Ok(response) => {
                    let (head, body) = response.into_parts();
                    self.answer.http_status = head.status.as_u16();
                    let content_type = head.headers.get(header::CONTENT_TYPE);
                    let content_type = content_type.map(|value| value.as_bytes()).unwrap_or(b"");
                    self.answer.content_type = String::from_utf8_lossy(content_type).into_owned();
                    self.answer.take(&head.headers);
                    self.received = Some(body);
                    return true;
                }
                Err(error) => return self.reset(&error),
            }
        }
        let Some(received) = &mut self.received else { return false };
        match received.data().await {
            Some(Ok(data)) => {
                // Fails only if the stream is gone.
                let _gone = received.flow_control().release_capacity(data.len());
                self.answer.body.extend_from_slice(&data);
                true
            }
            Some(Err(error)) => self.reset(&error),
            None => {
                match received.trailers().await {
                    Ok(Some(trailers)) => self.answer.take(&trailers),
                    Ok(None) => {}
                    Err(error) => return self.reset(&error),
                }
                false
            }
        }
    }

    fn reset(&mut self, error: &h2::Error) -> bool {
        // A complete answer may be followed by a NO_ERROR reset: the server needs no more input.
        let harmless = error.reason() == Some(h2::Reason::NO_ERROR);
        if !harmless {
            self.answer.reset = Some(error.to_string());
        }
        false
    }
}

/// The number of whole messages at the start of `body`, and their length in bytes with frames.
fn whole_messages(body: &[u8]) -> (usize, usize) {
    let mut count = 0;
    let all = body.len();
    let mut body = body;
    while let Some((head, rest)) = body.split_at_checked(5) {
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]);
        let Some(behind) = usize::try_from(length).ok().and_then(|length| rest.get(length..))
        else {
            break;
        };
        body = behind;
        count += 1;
    }
    (count, all - body.len())
}
