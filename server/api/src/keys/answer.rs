//! Turns the answer of a gRPC call into text.

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::StreamBody;
use prost::Message;
use quorate_proto::etcdserverpb as pb;
use quorate_raft::Account;
use tonic::Status;

use super::messages::Messages;
use super::{Operation, plain, text, typed};
use crate::gateway::{Answer, http_status};
use crate::memory::charged;
use crate::transport::answer::ResponseBody;
use crate::transport::caller::Caller;

/// The header for the revision of a key or of a write.
const REVISION: HeaderName = HeaderName::from_static("quorate-revision");

/// Turns the answer of the call into the answer of the request.
pub(crate) async fn answer(
    call: Response<ResponseBody>,
    operation: Operation,
    caller: &Caller,
) -> Answer {
    let (head, call) = call.into_parts();
    let outcome = Status::from_header_map(&head.headers);
    let mut messages = Messages::new(call, outcome, &caller.account);
    let first = match messages.next().await {
        Ok(first) => first.unwrap_or_default(),
        Err(failed) => return failure(&failed),
    };
    let account = caller.account.clone();
    let answer = match operation {
        Operation::Get => got(&first, &account),
        Operation::Put => put(&first),
        Operation::Delete => deleted(&first),
        Operation::List | Operation::Watch => streamed(operation, first, messages, account),
    };
    answer.unwrap_or_else(|failed| failure(&failed))
}

fn failure(failed: &Status) -> Answer {
    plain(http_status(failed.code()), format!("{}\n", failed.message()))
}

fn decode<M: Message + Default>(message: &[u8]) -> Result<M, Status> {
    M::decode(message).map_err(|_| Status::internal("malformed answer"))
}

fn got(message: &Bytes, account: &Account) -> Result<Answer, Status> {
    let range = pb::RangeResponse::decode(message.clone());
    let range = range.map_err(|_| Status::internal("malformed answer"))?;
    Ok(match range.kvs.into_iter().next() {
        None => not_found(),
        Some(row) => {
            let permit = account.charge(message.len());
            with_revision(plain(StatusCode::OK, charged(row.value, permit)), row.mod_revision)
        }
    })
}

fn put(message: &[u8]) -> Result<Answer, Status> {
    let header = decode::<pb::PutResponse>(message)?.header.unwrap_or_default();
    let text = format!("revision {}\n", header.revision);
    Ok(with_revision(plain(StatusCode::OK, text), header.revision))
}

fn deleted(message: &[u8]) -> Result<Answer, Status> {
    let answer = decode::<pb::DeleteRangeResponse>(message)?;
    if answer.deleted == 0 {
        return Ok(not_found());
    }
    let revision = answer.header.unwrap_or_default().revision;
    let text = format!("deleted {}, revision {revision}\n", answer.deleted);
    Ok(with_revision(plain(StatusCode::OK, text), revision))
}

fn not_found() -> Answer {
    plain(StatusCode::NOT_FOUND, "key not found\n")
}

fn with_revision(mut answer: Answer, revision: i64) -> Answer {
    answer.headers_mut().insert(REVISION, HeaderValue::from(revision));
    answer
}

/// The text of a message of a stream.
fn text_of(operation: Operation, message: &[u8]) -> Result<String, Status> {
    if operation == Operation::Watch {
        return Ok(text::events(&decode(message)?));
    }
    let part = decode::<pb::RangeStreamResponse>(message)?;
    Ok(text::lines(&part.range_response.unwrap_or_default().kvs))
}

/// An answer that goes on as long as the call. A watch that is cancelled ends with an event that
/// has the error. A call that fails is cut off, so that no client takes a list for complete.
fn streamed(
    operation: Operation,
    first: Bytes,
    messages: Messages,
    account: Account,
) -> Result<Answer, Status> {
    let first = text_of(operation, &first)?;
    let state = (Some(first), messages);
    let texts = stream::try_unfold(state, move |(first, mut messages)| async move {
        let text = match first {
            Some(first) => first,
            None => match messages.next().await {
                Ok(None) => return Ok(None),
                Ok(Some(message)) => text_of(operation, &message)?,
                Err(failed) => return Err(failed),
            },
        };
        Ok(Some((text, (None, messages))))
    });
    let frames = futures_util::TryStreamExt::map_ok(texts, move |text: String| {
        let permit = account.charge(text.len());
        Frame::data(charged(text.into(), permit))
    });
    let response = Response::new(tonic::body::Body::new(StreamBody::new(Box::pin(frames))));
    Ok(if operation == Operation::Watch {
        let mut response = typed(response, "text/event-stream");
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    } else {
        typed(response, "text/plain; charset=utf-8")
    })
}
