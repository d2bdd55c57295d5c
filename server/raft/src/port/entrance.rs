//! What other members call, as it is served: who calls is asked before anything more is read.
//!
//! tonic reads the message of a call before it passes the call on. A port without TLS may be called
//! by anybody, so the headers alone decide first, and messages are bounded (`body`).

use std::sync::Arc;

use bytes::Bytes;
use http_body::Body;
use quorate_proto::peer::peer_server::PeerServer;
use tonic::metadata::MetadataMap;
use tower_service::Service;

use super::body::{Bounded, Rules};
use super::guard::Guard;
use super::service::{Answers, PeerService};
use crate::budget::{Account, Budget};
use crate::network::MESSAGE_BYTES_MAX;

/// What the paths of all methods begin with.
const SERVICE: &str = "/quorate.peer.v1.Peer/";
/// The one that takes calls of anybody.
const OPEN: &str = "Describe";
/// Bytes of messages that are on their way from members. It is not the budget of clients: their
/// requests wait for what members say to each other, which must not wait for them.
const MESSAGES_BYTES: usize = 4 * MESSAGE_BYTES_MAX;

/// What other members call.
#[derive(Clone)]
pub struct PeerPort {
    guard: Arc<Guard>,
    service: PeerServer<PeerService>,
    budget: Budget,
    /// The connection's.
    account: Account,
}

impl PeerPort {
    pub(crate) fn new(answers: &Arc<Answers>) -> Self {
        let (guard, service) = (answers.guard.clone(), PeerService::mount(answers.clone()));
        let budget = Budget::new(MESSAGES_BYTES);
        let account = budget.account();
        Self { guard, service, budget, account }
    }

    /// The same for one more connection.
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
        let rules = Rules::of(method.unwrap_or_default());
        let request = request.map(|body| Bounded::new(body, rules, self.account));
        match self.service.call(request).await {
            Ok(answer) => answer,
            Err(never) => match never {},
        }
    }
}
