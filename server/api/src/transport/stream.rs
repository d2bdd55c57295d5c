//! Answers that bypass the codec and are sent piece by piece, as the connection takes them.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use http::{HeaderMap, HeaderValue};
use http_body::Frame;
use http_body_util::StreamBody;
use parking_lot::Mutex;
use quorate_raft::Permit;
use tonic::body::Body;
use tonic::{Response, Status};

use crate::error::ApiError;

/// An extension of a response: the body that replaces the response's message.
#[derive(Clone)]
pub(crate) struct Streamed(Arc<Mutex<Option<Body>>>);

impl Streamed {
    /// A body of these data, followed by the status OK. After an error the call is reset, because
    /// data that have been sent cannot be withdrawn.
    pub(crate) fn new(data: impl Stream<Item = Result<Bytes, ApiError>> + Send + 'static) -> Self {
        let data = data.map(|data| data.map(Frame::data).map_err(Status::from));
        let mut trailers = HeaderMap::with_capacity(1);
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
        let body = StreamBody::new(data.chain(stream::iter([Ok(Frame::trailers(trailers))])));
        Self(Arc::new(Mutex::new(Some(Body::new(body)))))
    }

    /// Takes the body; empty if it has been taken already.
    pub(crate) fn into_body(self) -> Body {
        self.0.lock().take().unwrap_or_default()
    }
}

/// A response that keeps the permit for its message, if any, until the message is encoded.
pub(crate) fn keeping<M>(message: M, permit: Option<Permit>) -> Response<M> {
    let mut response = Response::new(message);
    if let Some(permit) = permit {
        response.extensions_mut().insert(Kept(Arc::new(permit)));
    }
    response
}

/// An extension of a response: the permit for its message until the message is encoded.
#[derive(Clone)]
pub(crate) struct Kept(
    #[expect(dead_code, reason = "it is held until it is dropped")] pub(crate) Arc<Permit>,
);
