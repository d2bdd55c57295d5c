//! Accepts connections that other members lend.

use std::sync::Arc;

use tonic::Status;
use tonic::metadata::MetadataMap;

use super::service::Answers;
use crate::ground::connection::Connection;
use crate::network::header;
use crate::network::links::Links;
use crate::network::loans::TRIED_EVERY;
use crate::network::probe::try_urls;
use crate::network::way::Way;

/// An accepted offer of a connection, which is yet to be handed over.
pub struct Loan {
    links: Arc<Links>,
    member: u64,
    way: Arc<Way>,
    number: u64,
    is_proven: bool,
}

impl Loan {
    /// Checks the headers of an offer, as for a call.
    ///
    /// # Errors
    /// The lender is refused or unknown, or this member stops.
    pub(crate) fn new(
        answers: &Answers,
        links: &Arc<Links>,
        headers: http::HeaderMap,
        is_proven: bool,
    ) -> Result<Self, Status> {
        let headers = MetadataMap::from_headers(headers);
        let member = answers.guard.admit(&headers)?;
        let number = headers.get(header::LENDER).and_then(|value| value.to_str().ok());
        let number = number.and_then(|number| u64::from_str_radix(number, 16).ok());
        let number = number.ok_or_else(|| Status::invalid_argument("the lender has no number"))?;
        match links.way(member) {
            Some(way) if !answers.parting.is_cancelled() => {
                Ok(Self { links: links.clone(), member, way, number, is_proven })
            }
            _ => Err(Status::unavailable("the member is not known yet, or this one stops")),
        }
    }

    /// Keeps the connection until it is taken, and then counts it as open until it ends.
    pub async fn keep(self, connection: Box<dyn Connection>) {
        let Self { links, member, way, number, is_proven } = self;
        if !way.loans.knows(number)
            && let Some(closed) = links.closed().into_iter().find(|it| it.member == member)
            && way.loans.begins_to_try()
        {
            // The member may have restarted and answer at its URLs again.
            try_urls(&links, closed, links.patience().0.min(TRIED_EVERY)).await;
        }
        way.loans.keep(number, is_proven, connection).await;
    }
}
