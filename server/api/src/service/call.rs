//! A gRPC call, from its headers to its answer: checked, charged, dispatched and counted.

use std::error::Error;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, header};
use http_body::Body;
use quorate_core::planted::{self, Mistake};
use quorate_raft::Permit;
use tokio::time::{Instant, timeout_at};
use tonic::Status;

use super::ApiService;
use super::checks::check_call;
use crate::error::ApiError;
use crate::method::{Method, Route};
use crate::transport::answer::{Call, Charge, ResponseBody};
use crate::transport::body::Checked;
use crate::transport::caller::Caller;
use crate::transport::charge::{Held, take_call};
use crate::transport::framing::Rules;
use crate::transport::head::{self, unknown_method};

impl ApiService {
    pub(super) async fn serve_grpc<B>(
        &self,
        request: Request<B>,
        mut caller: Caller,
    ) -> Response<ResponseBody>
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<Box<dyn Error + Send + Sync>> + Send,
    {
        let head = match head::check(&request) {
            Ok(head) => head,
            Err(refused) => return self.answer(refused.into_response(), None),
        };
        let path = request.uri().path_and_query().map_or("", |path| path.as_str());
        let Some(counters) = self.server.metrics().method(path).cloned() else {
            return self.answer(unknown_method(path).into_http(), None);
        };
        counters.begun();
        let started = Instant::now();
        let method = counters.method;
        let span = self.server.tracer().map(|tracer| tracer.call(method, request.headers()));
        caller.trace = span.as_ref().map(|span| span.trace().clone());
        let deadline = head.timeout.and_then(|timeout| started.checked_add(timeout));
        let permit = match check_call(&self.server, method, request.headers()) {
            Ok(()) => {
                let admitted = self.admit(method, request.headers(), &mut caller);
                in_time(deadline, admitted).await.flatten()
            }
            Err(refused) => Err(refused),
        };
        let mut charge = None;
        let mut response = match permit {
            Err(refused) => Status::from(refused).into_http(),
            Ok(permit) => {
                charge = Some(Charge::new(caller.account.clone(), permit, method.kind));
                let length_max = self.server.message_bytes_max();
                let is_txn = method.route == Route::Kv && method.name == "Txn";
                let is_gzip = head.is_gzip;
                let rules = Rules { kind: method.kind, is_txn, is_gzip, length_max };
                let held = Held::new(&caller.account, caller.intake.clone());
                // This clone outlives the body, because the decoded request exists until it has
                // been answered.
                let _held = held.clone();
                let mut request =
                    request.map(|body| Checked::new(body, self.server.clone(), rules, held));
                request.extensions_mut().insert(caller);
                let answer = in_time(deadline, self.call(method.route, request)).await;
                answer.unwrap_or_else(|late| Status::from(late).into_http())
            }
        };
        response.headers_mut().insert(header::CONTENT_TYPE, head.content_type);
        let call = Call::new(counters, started, &mut response, deadline, charge, span);
        self.answer(response, Some(call))
    }

    /// Takes memory for a call, and establishes the identity of its client.
    async fn admit(
        &self,
        method: &Method,
        headers: &HeaderMap,
        caller: &mut Caller,
    ) -> Result<Permit, ApiError> {
        let permit = take_call(&caller.account, &caller.intake, headers).await?;
        caller.login = self.server.admit(method, headers, caller.common_name.as_ref()).await?;
        Ok(permit)
    }

    /// Calls the service of a route. The future is dropped, and the call ends, when the client has
    /// cancelled the call or its deadline has passed.
    async fn call<B>(&self, route: Route, request: Request<B>) -> Response<tonic::body::Body>
    where
        B: Body + Send + 'static,
        B::Error: Into<Box<dyn Error + Send + Sync>> + Send,
    {
        if planted::has(Mistake::WorkAfterCancel) {
            let services = self.services.clone();
            let call = async move { services.call(route, request).await };
            return self.server.tasks().spawn(call).await.expect("a call does not panic");
        }
        self.services.call(route, request).await
    }

    pub(super) fn answer(
        &self,
        response: Response<tonic::body::Body>,
        call: Option<Call>,
    ) -> Response<ResponseBody> {
        let metrics = self.server.clone();
        response.map(|inner| ResponseBody { inner, call, metrics })
    }
}

/// Waits for `answer`, but not beyond the client's deadline. After the deadline, nothing begins.
async fn in_time<F: Future>(deadline: Option<Instant>, answer: F) -> Result<F::Output, ApiError> {
    match deadline {
        None => Ok(answer.await),
        Some(deadline) if deadline <= Instant::now() => Err(ApiError::DeadlineExceeded),
        Some(deadline) => {
            timeout_at(deadline, answer).await.map_err(|_| ApiError::DeadlineExceeded)
        }
    }
}
