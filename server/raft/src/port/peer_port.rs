//! The port for calls of other members: checks the caller before it reads anything else.
//!
//! tonic reads the message of a unary call before it calls the service. Any program can call a port
//! without TLS, so the headers are checked first, and messages are limited (`body`).

use std::sync::Arc;

use bytes::Bytes;
use http_body::Body;
use quorate_proto::peer::peer_server::PeerServer;
use tonic::metadata::MetadataMap;
use tower_service::Service;

use super::body::{Bounded, MessageLimits};
use super::guard::Guard;
use super::service::{PeerHandlers, PeerService};
use crate::budget::{Account, Budget};
use crate::network::MESSAGE_BYTES_MAX;

/// Path prefix of all methods.
const SERVICE: &str = "/quorate.peer.v1.Peer/";
/// The only method that any program may call.
const OPEN: &str = "Describe";
/// Budget in bytes for messages in flight from members. It is not the budget of clients: client
/// requests wait for these messages, which therefore must not wait for client requests.
const MESSAGES_BYTES: usize = 4 * MESSAGE_BYTES_MAX;

/// The service for calls of other members.
#[derive(Clone)]
pub struct PeerPort {
    guard: Arc<Guard>,
    service: PeerServer<PeerService>,
    budget: Budget,
    /// The account of this connection.
    account: Account,
}

impl PeerPort {
    pub(crate) fn new(handlers: &Arc<PeerHandlers>) -> Self {
        let guard = handlers.guard.clone();
        let service = PeerService::mount(handlers.clone());
        let budget = Budget::new(MESSAGES_BYTES);
        let account = budget.account();
        Self { guard, service, budget, account }
    }

    /// The same service for another connection, with its own account.
    #[must_use]
    pub fn for_connection(&self) -> Self {
        Self { account: self.budget.account(), ..self.clone() }
    }

    /// Answers a call.
    pub async fn call<B>(mut self, request: http::Request<B>) -> http::Response<tonic::body::Body>
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>> + Send + 'static,
    {
        let method = request.uri().path().strip_prefix(SERVICE);
        if method.is_some_and(|method| method != OPEN) {
            let headers = MetadataMap::from_headers(request.headers().clone());
            if let Err(refusal) = self.guard.admit(&headers) {
                return refusal.into_http();
            }
        }
        let limits = MessageLimits::of(method.unwrap_or_default());
        let request = request.map(|body| Bounded::new(body, limits, self.account));
        match self.service.call(request).await {
            Ok(answer) => answer,
            Err(never) => match never {},
        }
    }
}
