//! The API server as a service under `kube::Client`.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use http::Response;
use kube::Client;
use kube::client::Body;
use tower_service::Service;

use super::{Answer, Request};
use crate::calls::Calls;

/// A service that answers requests.
pub(crate) type Server = Arc<dyn Fn(&Request) -> Answer + Send + Sync>;

/// The API server. Each request is one call.
#[derive(Clone)]
struct Api {
    server: Server,
    calls: Arc<Calls>,
}

/// A client of an API server.
pub(crate) fn serve(server: Server, calls: Arc<Calls>) -> Client {
    Client::new(Api { server, calls }, "default")
}

impl Service<http::Request<Body>> for Api {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let Self { server, calls } = self.clone();
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let body = body.collect_bytes().await.expect("a body in memory");
            let request = Request::read(&parts, &body);
            let text = request.as_ref().map_or_else(|_| parts.uri.to_string(), |it| it.text());
            let is_read = request.as_ref().is_ok_and(Request::is_read);
            let answer = calls.make(text, is_read, || request.as_ref().map(|it| server(it))).await;
            let (code, body) = match answer {
                Ok(Ok(answer)) => answer,
                Ok(Err(failure)) => (failure.code, failure.body()),
                Err(failure) => (failure.code, failure.body()),
            };
            let response =
                Response::builder().status(code).body(Body::from(body.to_string().into_bytes()));
            Ok(response.expect("the code is one of HTTP's"))
        })
    }
}
