//! Keys as plain text, for people and scripts: `/v1/keys/<key>` with `GET`, `PUT` and `DELETE`, and
//! the options `?prefix` and `?watch`.
//!
//! As in the JSON gateway, a request becomes a gRPC call within the process, so that the checks,
//! limits and charges of gRPC calls apply to the request.

mod answer;
mod messages;
mod request;
mod text;

use http::{Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full};

pub(crate) use self::answer::answer;
pub(crate) use self::request::call;
use crate::gateway::Answer;

/// The prefix of all paths.
pub(crate) const PREFIX: &str = "/v1/keys/";

/// The operation that a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Get,
    List,
    Watch,
    Put,
    Delete,
}

/// An answer of plain text.
fn plain(status: StatusCode, text: impl Into<bytes::Bytes>) -> Answer {
    let body = Full::new(text.into()).map_err(|never| match never {});
    let mut response = Response::new(tonic::body::Body::new(body));
    *response.status_mut() = status;
    typed(response, "text/plain; charset=utf-8")
}

fn typed(mut response: Answer, content_type: &'static str) -> Answer {
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static(content_type));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, header::HeaderValue::from_static("nosniff"));
    response
}
