//! Accepts reverse connections from other members.

use std::sync::Arc;

use tonic::Status;
use tonic::metadata::MetadataMap;

use super::service::PeerHandlers;
use crate::ground::connection::Connection;
use crate::network::header;
use crate::network::peer_pool::PeerPool;
use crate::network::probe::probe_urls;
use crate::network::reverse_pool::PROBE_INTERVAL;
use crate::network::route::Route;

/// An accepted offer of a reverse connection, which is yet to be handed over.
pub struct ReverseConnection {
    pool: Arc<PeerPool>,
    member: u64,
    route: Arc<Route>,
    number: u64,
    is_proven: bool,
}

impl ReverseConnection {
    /// Checks the headers of an offer, as for a call.
    ///
    /// # Errors
    /// The initiator is refused or unknown, or this member stops.
    pub(crate) fn new(
        handlers: &PeerHandlers,
        pool: &Arc<PeerPool>,
        headers: http::HeaderMap,
        is_proven: bool,
    ) -> Result<Self, Status> {
        let headers = MetadataMap::from_headers(headers);
        let member = handlers.guard.admit(&headers)?;
        let number = headers.get(header::INITIATOR).and_then(|value| value.to_str().ok());
        let number = number.and_then(|number| u64::from_str_radix(number, 16).ok());
        let missing = || Status::invalid_argument("the offer lacks the initiator's number");
        let number = number.ok_or_else(missing)?;
        match pool.route(member) {
            Some(route) if !handlers.closing_streams.is_cancelled() => {
                Ok(Self { pool: pool.clone(), member, route, number, is_proven })
            }
            _ => {
                let text = "the initiator is not a known member yet, or this member is stopping";
                Err(Status::unavailable(text))
            }
        }
    }

    /// Holds the connection until it is taken, and then counts it as open until it ends.
    pub async fn hold(self, connection: Box<dyn Connection>) {
        let Self { pool, member, route, number, is_proven } = self;
        if !route.reverse.knows(number)
            && let Some(peer) = pool.unreachable().into_iter().find(|it| it.member == member)
            && route.reverse.may_probe()
        {
            // The member may have restarted and answer at its URLs again.
            probe_urls(&pool, peer, pool.election_timeout().min(PROBE_INTERVAL)).await;
        }
        route.reverse.hold(number, is_proven, connection).await;
    }
}
