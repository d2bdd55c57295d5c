//! The answer to a request of the gateway: the JSON of a gRPC answer, written as the connection
//! takes it.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::future::poll_fn;
use http::{HeaderName, HeaderValue, Response, header};
use http_body::{Body, Frame};
use http_body_util::{BodyExt as _, Full};
use prost_reflect::MessageDescriptor;
use quorate_raft::{Account, Permit};
use tonic::Status;

use super::status;
use super::writer::{Malformed, Writer};
use crate::memory::charged;
use crate::transport::answer::ResponseBody;

/// Size of the pieces in which large answers are written, and of the steps in which lines of a
/// stream take memory.
const PIECE_BYTES: usize = 32 << 10;
/// The header that has the content type of the call's answer, as in etcd.
const CALL_TYPE: HeaderName = HeaderName::from_static("grpc-metadata-content-type");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// How to write the answers of a method.
pub(crate) struct Form {
    pub(super) message: MessageDescriptor,
    pub(super) is_stream: bool,
}

/// The JSON of a gRPC answer.
struct Json {
    call: ResponseBody,
    /// Bytes of the call's answer that are not written yet.
    unread: Bytes,
    writer: Writer,
    is_stream: bool,
    /// The outcome of the call, once it is known.
    outcome: Option<Status>,
    /// Whether nothing follows.
    is_over: bool,
    account: Account,
    /// Memory for the part of the text beyond a piece.
    line: Vec<Permit>,
}

/// Turns the answer of a call into the answer of the gateway.
pub(super) async fn answer(
    call: Response<ResponseBody>,
    form: Form,
    account: Account,
) -> Response<tonic::body::Body> {
    let (head, call) = call.into_parts();
    let outcome = Status::from_header_map(&head.headers);
    let refusal = outcome.clone();
    let Form { message, is_stream } = form;
    let writer = Writer::new(message, is_stream);
    let unread = Bytes::new();
    let line = Vec::new();
    let mut json = Json { call, unread, writer, is_stream, outcome, is_over: false, account, line };
    let first = poll_fn(|context| json.poll_text(context)).await;
    let mut response = match first {
        Ok(Some(text)) if json.is_complete() => full(json.charge(text)),
        Ok(Some(text)) => {
            let first = json.charge(text);
            Response::new(tonic::body::Body::new(Begun { first: Some(first), json }))
        }
        Ok(None) => match json.outcome.take() {
            Some(failed) if failed.code() != tonic::Code::Ok => failure(&failed, is_stream),
            _ => full(Bytes::new()),
        },
        Err(failed) => failure(&failed, is_stream),
    };
    // As in etcd, an answer without messages has no metadata.
    if let (None, Some(content_type)) = (refusal, head.headers.get(header::CONTENT_TYPE)) {
        response.headers_mut().insert(CALL_TYPE, content_type.clone());
    }
    response.headers_mut().insert(header::CONTENT_TYPE, JSON);
    response
}

/// The answer for a failed call of which nothing has been written.
pub(super) fn failure(failed: &Status, is_stream: bool) -> Response<tonic::body::Body> {
    let text = if is_stream { status::stream(failed) } else { status::unary(failed) };
    let mut response = full(text.into());
    *response.status_mut() = status::http_status(failed.code());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, JSON);
    if failed.code() == tonic::Code::Unauthenticated
        && let Ok(text) = HeaderValue::from_str(failed.message())
    {
        headers.insert(header::WWW_AUTHENTICATE, text);
    }
    response
}

/// An answer whose length is known.
pub(super) fn full(text: Bytes) -> Response<tonic::body::Body> {
    Response::new(tonic::body::Body::new(Full::new(text).map_err(|never| match never {})))
}

impl Json {
    /// The next text; `None` at the end of the call. `outcome` then says how the call has ended.
    fn poll_text(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<String>, Status>> {
        let malformed = |Malformed| Status::internal("malformed answer");
        loop {
            self.writer.write().map_err(malformed)?;
            if self.writer.ends_line() || self.is_full() {
                return Poll::Ready(Ok(Some(self.writer.text())));
            }
            if !self.unread.is_empty() {
                let piece = self.unread.split_to(self.unread.len().min(PIECE_BYTES));
                self.writer.take(&piece).map_err(malformed)?;
                continue;
            }
            if self.outcome.is_some() {
                let text = self.writer.text();
                return Poll::Ready(Ok((!text.is_empty()).then_some(text)));
            }
            match ready!(Pin::new(&mut self.call).poll_frame(context)) {
                None => self.outcome = Some(Status::unknown("the answer ended too early")),
                Some(Err(reset)) => return Poll::Ready(Err(reset)),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.unread = data,
                    Err(frame) => {
                        let trailers = frame.trailers_ref();
                        self.outcome = trailers.and_then(Status::from_header_map);
                    }
                },
            }
        }
    }

    /// Whether the text must be taken before more is written. As in etcd, each line of a stream is
    /// one chunk, if there is memory for a whole line: etcd3gw reads a chunk as one value.
    fn is_full(&mut self) -> bool {
        let pieces = self.writer.written() / PIECE_BYTES;
        while self.line.len() < pieces {
            let more = self.is_stream.then(|| self.account.try_acquire(PIECE_BYTES)).flatten();
            let Some(more) = more else { return true };
            self.line.push(more);
        }
        false
    }

    /// Whether the call has succeeded and all of its answer has been returned.
    fn is_complete(&self) -> bool {
        let is_ok = self.outcome.as_ref().is_some_and(|outcome| outcome.code() == tonic::Code::Ok);
        is_ok && self.unread.is_empty() && self.writer.written() == 0 && self.writer.is_between()
    }

    /// The bytes of a text, charged until the connection has written them.
    fn charge(&mut self, text: String) -> Bytes {
        let permit = self.account.charge(text.len());
        self.line.clear();
        charged(text.into(), permit)
    }

    /// The piece after the last text of the call. An error within a stream is a line. An error
    /// within a single message ends the connection, because the pieces that were sent cannot be
    /// withdrawn.
    fn end(&mut self) -> Option<Result<Bytes, Status>> {
        self.is_over = true;
        let outcome = self.outcome.take()?;
        if outcome.code() == tonic::Code::Ok && self.writer.is_between() {
            return None;
        }
        Some(if self.is_stream { Ok(status::stream(&outcome).into()) } else { Err(outcome) })
    }
}

/// An answer whose first piece has been written.
struct Begun {
    first: Option<Bytes>,
    json: Json,
}

impl Body for Begun {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        if let Some(first) = this.first.take() {
            return Poll::Ready(Some(Ok(Frame::data(first))));
        }
        if this.json.is_over {
            return Poll::Ready(None);
        }
        let piece = match ready!(this.json.poll_text(context)) {
            Ok(Some(text)) => Some(Ok(this.json.charge(text))),
            Ok(None) => this.json.end(),
            Err(reset) => {
                this.json.outcome = Some(reset);
                this.json.end()
            }
        };
        Poll::Ready(piece.map(|piece| piece.map(Frame::data)))
    }
}
