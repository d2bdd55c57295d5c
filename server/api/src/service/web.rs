//! HTTP requests other than gRPC calls: for the JSON gateway, keys as plain text, and pages.

use std::error::Error;
use std::future::ready;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, Version};
use http_body::Body;

use super::ApiService;
use crate::gateway::socket::handshake;
use crate::gateway::{Answer, Carrier, FORMER_PREFIX, Gateway, PREFIX};
use crate::http::{self as pages, Page};
use crate::keys;
use crate::method::METHODS;
use crate::transport::answer::ResponseBody;
use crate::transport::caller::Caller;
use crate::transport::unread::Unread;

impl ApiService {
    /// Answers a request for the JSON gateway, for keys as plain text or for a page.
    pub async fn serve_web<B>(&self, request: Request<B>, caller: Caller) -> Response<ResponseBody>
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<Box<dyn Error + Send + Sync>> + Send,
    {
        if request.version() != Version::HTTP_2 {
            return self.serve_any(request, caller).await;
        }
        let (head, body) = request.into_parts();
        let body = Unread::new(body);
        let rest = body.clone();
        let response = self.serve_any(Request::from_parts(head, body), caller).await;
        let is_refused = response.status().is_client_error() || response.status().is_server_error();
        if is_refused && !rest.is_end_stream() {
            rest.drain().await;
        }
        response
    }

    async fn serve_any<B>(&self, request: Request<B>, caller: Caller) -> Response<ResponseBody>
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<Box<dyn Error + Send + Sync>> + Send,
    {
        let rules = &self.server.options().web_rules;
        if let Some(refusal) = rules.refuse(&request, caller.is_secure) {
            return self.page(ready(pages::misdirected(refusal)), 0, &caller.account).await;
        }
        let cors = rules.cors(request.headers());
        let mut response = if request.method() == Method::OPTIONS {
            self.page(ready(pages::options()), 0, &caller.account).await
        } else {
            self.serve_checked(request, caller).await
        };
        response.headers_mut().extend(cors.unwrap_or_default());
        response
    }

    async fn serve_checked<B>(&self, request: Request<B>, caller: Caller) -> Response<ResponseBody>
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<Box<dyn Error + Send + Sync>> + Send,
    {
        let path = request.uri().path();
        if self.is_misnamed(path, &caller) {
            return self.page(ready(pages::name_unused()), 0, &caller.account).await;
        }
        if let Some(key) = path.strip_prefix(keys::PREFIX).map(str::to_owned) {
            return self.serve_key(&key, request, caller).await;
        }
        let rest = path.strip_prefix(PREFIX).or_else(|| path.strip_prefix(FORMER_PREFIX));
        match (rest.map(str::to_owned), &self.gateway) {
            (Some(path), Some(gateway)) if handshake::is_asked(&request) => {
                let answer = self.open_socket(gateway, path, &request, caller);
                self.answer(answer, None)
            }
            (Some(path), Some(gateway)) => {
                let answer = self.call_rest(gateway, &path, request, Carrier::Http, caller).await;
                self.answer(answer, None)
            }
            _ if self.server.options().has_status_page && pages::status::has(path) => {
                let page = async { self.pages.status(request.method(), path) };
                let about = pages::status::size_about(path);
                if !pages::status::is_data(path) {
                    return self.page(page, about, &caller.account).await;
                }
                self.serve_known(page, about, request.headers(), &caller).await
            }
            _ if pages::debug::has_variables(path) => {
                let page = async { self.pages.variables(request.method()) };
                self.serve_known(page, 0, request.headers(), &caller).await
            }
            _ if self.pages.has_debug(path) => {
                let page = async { self.pages.debug(request.method(), path) };
                self.page(page, 0, &caller.account).await
            }
            _ => self.serve_page(&request, &caller).await,
        }
    }

    /// Answers a request for a page about the settings or the members. Only a port for clients has
    /// such pages, because a port for monitoring alone checks neither certificates nor the `Host`
    /// header.
    ///
    /// While authentication is on, only known users get the page, as only they get the list of
    /// members over gRPC. The name in a certificate is a login, unlike for calls of the gateway:
    /// the request changes nothing, and browsers keep the answer from foreign pages.
    async fn serve_known(
        &self,
        page: impl Future<Output = Page>,
        about: usize,
        headers: &HeaderMap,
        caller: &Caller,
    ) -> Response<ResponseBody> {
        let method = METHODS.iter().find(|method| method.name == "MemberList");
        let method = method.expect("the table has all methods of etcd");
        let name = caller.common_name.as_ref();
        if let Err(refused) = self.server.admit(method, headers, name).await {
            return self.page(ready(pages::unauthorized(&refused)), 0, &caller.account).await;
        }
        self.page(page, about, &caller.account).await
    }

    /// Whether a request for the JSON gateway or for keys comes with a certificate that would be a
    /// login for a gRPC call. As in etcd, such a request is refused, so that no client believes
    /// that it acts as the owner of the certificate.
    fn is_misnamed(&self, path: &str, caller: &Caller) -> bool {
        let is_call = [keys::PREFIX, PREFIX, FORMER_PREFIX].iter().any(|it| path.starts_with(it));
        let is_on = || self.server.member().store().auth_revision() != 0;
        is_call && caller.common_name.is_some() && is_on()
    }

    /// Answers a request for keys as plain text by a gRPC call within the process.
    async fn serve_key<B>(
        &self,
        key: &str,
        request: Request<B>,
        caller: Caller,
    ) -> Response<ResponseBody>
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<Box<dyn Error + Send + Sync>> + Send,
    {
        let value_max = self.server.options().max_request_bytes;
        let answer = match keys::call(key, request, &caller, value_max) {
            Ok((call, operation)) => {
                let answer = self.serve_grpc(call, caller.clone()).await;
                keys::answer(answer, operation, &caller).await
            }
            Err(refusal) => *refusal,
        };
        self.answer(answer, None)
    }

    /// Answers a request for the JSON gateway by a gRPC call within the process.
    pub(super) async fn call_rest<B>(
        &self,
        gateway: &Gateway,
        path: &str,
        request: Request<B>,
        carrier: Carrier,
        caller: Caller,
    ) -> Answer
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<Box<dyn Error + Send + Sync>> + Send,
    {
        match gateway.call(path, request, carrier, &caller) {
            Ok((call, form)) => {
                let answer = self.serve_grpc(call, caller.clone()).await;
                form.answer(answer, &caller).await
            }
            Err(refusal) => *refusal,
        }
    }
}
