//! Web sockets of the JSON gateway: an HTTP request opens one, and its connection then carries the
//! request proper.

use std::fmt;
use std::sync::Arc;

use http::{HeaderMap, Method, Request, Response};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};

use super::ApiService;
use crate::gateway::socket::{self, handshake};
use crate::gateway::{Answer, Carrier, Gateway};
use crate::transport::answer::ResponseBody;
use crate::transport::caller::Caller;

/// A web socket that a request has opened. It is served on the connection of the request, once that
/// has sent the answer `101 Switching Protocols`.
pub struct Socket {
    service: ApiService,
    gateway: Arc<Gateway>,
    path: String,
    headers: HeaderMap,
    caller: Caller,
}

/// An extension of the answer to the request: the web socket, until it is taken.
#[derive(Clone)]
struct Opened(Arc<Mutex<Option<Socket>>>);

impl ApiService {
    /// Answers a request for a web socket at a path of the gateway.
    pub(super) fn open_socket<B>(
        &self,
        gateway: &Arc<Gateway>,
        path: String,
        request: &Request<B>,
        caller: Caller,
    ) -> Answer {
        let rules = &self.server.options().web_rules;
        let headers = request.headers();
        let mut answer = match handshake::answer(request, rules.allows_socket(headers)) {
            Ok(answer) => answer,
            Err(refusal) => return *refusal,
        };
        let headers = handshake::carried(headers, rules.knows_page(headers));
        let (service, gateway) = (self.clone(), gateway.clone());
        let socket = Socket { service, gateway, path, headers, caller };
        answer.extensions_mut().insert(Opened(Arc::new(Mutex::new(Some(socket)))));
        answer
    }
}

impl Socket {
    /// Takes the web socket that an answer has opened, if any.
    pub fn take(answer: &mut Response<ResponseBody>) -> Option<Self> {
        let opened = answer.extensions_mut().remove::<Opened>()?;
        opened.0.lock().take()
    }

    /// Serves the web socket until one side ends it. A silent client keeps it open; a stop of the
    /// server ends its streams.
    pub async fn serve<I>(self, io: I)
    where
        I: AsyncRead + AsyncWrite,
    {
        let Self { service, gateway, path, headers, caller } = self;
        let stop = service.server.stopping().clone();
        let call = async |body| {
            let mut request = Request::new(body);
            // As in etcd, whatever the handshake says.
            *request.method_mut() = Method::POST;
            *request.headers_mut() = headers;
            let call = service.call_rest(&gateway, &path, request, Carrier::Socket, caller);
            Box::pin(call).await
        };
        socket::serve(io, &stop, call).await;
    }
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Socket").field("path", &self.path).finish_non_exhaustive()
    }
}
