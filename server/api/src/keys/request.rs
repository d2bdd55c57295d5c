//! Turns a request into a gRPC call.

use std::error::Error;

use bytes::{Bytes, BytesMut};
use futures_util::stream;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, Version, header};
use http_body::{Body, Frame};
use http_body_util::{BodyExt as _, StreamBody};
use percent_encoding::percent_decode_str;
use quorate_proto::etcdserverpb as pb;
use quorate_proto::etcdserverpb::watch_request::RequestUnion;
use tonic::Status;

use super::{Operation, plain};
use crate::error::ApiError;
use crate::gateway::{Answer, CallBody, metadata};
use crate::transport::caller::Caller;
use crate::transport::charge::Held;
use crate::transport::framing::frame;

/// The header that has the id of the last event that a client has received. A watch resumes there.
const LAST_ID: &str = "last-event-id";

/// The options of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Options {
    prefix: bool,
    watch: bool,
}

/// Makes the gRPC call for a request. `key` is percent-encoded. A value has at most `value_max`
/// bytes.
///
/// # Errors
/// The request is malformed. The error is the answer to it.
pub(crate) fn call<B>(
    key: &str,
    request: Request<B>,
    caller: &Caller,
    value_max: usize,
) -> Result<(Request<CallBody>, Operation), Box<Answer>>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>> + Send,
{
    let key: Bytes = percent_decode_str(key).collect::<Vec<u8>>().into();
    let options = options(request.uri())?;
    let operation = match (request.method().as_str(), options.watch) {
        ("GET", true) => Operation::Watch,
        ("GET", false) if options.prefix => Operation::List,
        ("GET", false) => Operation::Get,
        ("PUT", false) if !options.prefix => Operation::Put,
        ("DELETE", false) => Operation::Delete,
        ("PUT" | "DELETE", _) => return Err(bad("the method does not have this option")),
        _ => return Err(not_allowed()),
    };
    let (key, range_end) = if options.prefix { prefix(key) } else { (key, Bytes::new()) };
    if key.is_empty() {
        return Err(bad("the path has no key"));
    }
    let (path, framed) = match operation {
        Operation::Get | Operation::List => {
            let message = pb::RangeRequest { key: key.clone(), range_end, ..Default::default() };
            let is_list = operation == Operation::List;
            (if is_list { "KV/RangeStream" } else { "KV/Range" }, frame(&message))
        }
        Operation::Watch => {
            let start_revision = resumed(request.headers())?;
            let key = key.clone();
            // Fragments, because each message is decoded as a whole and should be small.
            let create = pb::WatchCreateRequest {
                key,
                range_end,
                start_revision,
                fragment: true,
                ..Default::default()
            };
            let request_union = Some(RequestUnion::CreateRequest(create));
            ("Watch/Watch", frame(&pb::WatchRequest { request_union }))
        }
        Operation::Put => ("KV/Put", Ok(Bytes::new())),
        Operation::Delete => {
            let message = pb::DeleteRangeRequest { key: key.clone(), range_end, prev_kv: false };
            ("KV/DeleteRange", frame(&message))
        }
    };
    let metadata = metadata(request.headers()).map_err(|failed| bad(failed.message()))?;
    let body: CallBody = if operation == Operation::Put {
        let held = Held::new(&caller.account, caller.intake.clone());
        let body = request.into_body();
        let put = async move { put(key, body, held, value_max).await.map(Frame::data) };
        StreamBody::new(Box::pin(stream::once(put)))
    } else {
        StreamBody::new(Box::pin(stream::iter([framed.map(Frame::data).map_err(Status::from)])))
    };
    let mut call = Request::new(body);
    *call.method_mut() = Method::POST;
    *call.version_mut() = Version::HTTP_2;
    *call.uri_mut() = format!("/etcdserverpb.{path}").parse().expect("a valid path");
    *call.headers_mut() = metadata;
    Ok((call, operation))
}

/// The frame of a put, once its value has arrived.
async fn put<B>(key: Bytes, mut body: B, held: Held, value_max: usize) -> Result<Bytes, Status>
where
    B: Body<Data = Bytes> + Unpin,
{
    let mut value = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return Err(ApiError::Canceled.into()) };
        let Ok(data) = frame.into_data() else { continue };
        if value.len() + data.len() > value_max {
            return Err(ApiError::RequestTooLarge.into());
        }
        // Both the value and its frame exist for a moment.
        let bytes = 2 * data.len();
        if !held.try_grow(bytes) && held.clone().grow(bytes).await.is_err() {
            return Err(ApiError::TooManyRequests.into());
        }
        value.extend_from_slice(&data);
    }
    Ok(frame(&pb::PutRequest { key, value: value.freeze(), ..Default::default() })?)
}

/// The beginning and the end of the range of keys with a prefix.
fn prefix(key: Bytes) -> (Bytes, Bytes) {
    let Some(last) = key.iter().rposition(|byte| *byte < u8::MAX) else {
        let key = if key.is_empty() { Bytes::from_static(b"\0") } else { key };
        return (key, Bytes::from_static(b"\0"));
    };
    let mut end = key[..=last].to_vec();
    end[last] += 1;
    (key, end.into())
}

/// The start revision of a watch: the one after `Last-Event-ID`. Without that header 0, which means
/// from now on.
fn resumed(headers: &HeaderMap) -> Result<i64, Box<Answer>> {
    let Some(last) = headers.get(LAST_ID) else { return Ok(0) };
    let last = last.to_str().ok().and_then(|last| last.parse::<i64>().ok());
    let next = last.and_then(|last| last.checked_add(1)).filter(|next| *next > 0);
    next.ok_or_else(|| bad("Last-Event-ID is not a revision"))
}

fn options(uri: &Uri) -> Result<Options, Box<Answer>> {
    let mut options = Options::default();
    for option in uri.query().unwrap_or_default().split('&').filter(|option| !option.is_empty()) {
        match option {
            "prefix" | "prefix=" | "prefix=true" => options.prefix = true,
            "watch" | "watch=" | "watch=true" => options.watch = true,
            _ => return Err(bad("the options are ?prefix and ?watch")),
        }
    }
    Ok(options)
}

fn bad(text: &str) -> Box<Answer> {
    Box::new(plain(StatusCode::BAD_REQUEST, format!("{text}\n")))
}

fn not_allowed() -> Box<Answer> {
    let mut answer = plain(StatusCode::METHOD_NOT_ALLOWED, "the methods are GET, PUT and DELETE\n");
    answer.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, PUT, DELETE"));
    Box::new(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_are_ranges() {
        let range = |key: &'static [u8]| prefix(Bytes::from_static(key));
        assert_eq!(range(b"a/"), ("a/".into(), "a0".into()));
        assert_eq!(range(b"a\xff"), (Bytes::from_static(b"a\xff"), "b".into()));
        assert_eq!(range(b""), ("\0".into(), "\0".into()));
        assert_eq!(range(b"\xff"), (Bytes::from_static(b"\xff"), "\0".into()));
    }

    #[test]
    fn options_are_read() {
        let read = |text: &str| options(&text.parse().unwrap()).ok();
        assert_eq!(read("/v1/keys/a"), Some(Options::default()));
        let both = Options { prefix: true, watch: true };
        assert_eq!(read("/v1/keys/a?prefix&watch=true"), Some(both));
        assert_eq!(read("/v1/keys/a?prefix=no"), None);
    }
}
