//! One member, as it is called.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::calls::Client;
use super::connector::Urls;
use super::loans::Lender;
use super::refusal::heed;
use super::way::Way;
use crate::ground::exclusion::Notice;
use crate::metrics::peers::LinkMetrics;

/// The connections to one member.
#[derive(Clone)]
pub(crate) struct Link {
    pub(super) urls: Urls,
    /// For entries of the log.
    pub(crate) log: Client,
    /// For what waits behind nothing.
    pub(crate) control: Client,
    /// For snapshots.
    pub(crate) bulk: Client,
    /// For what clients of one member ask of another one.
    pub(crate) requests: Client,
    pub(crate) metrics: Arc<LinkMetrics>,
    /// Done when the member is reached in another way: calls that stay open are to be made anew.
    pub(crate) outdated: CancellationToken,
    /// Who lends the connections; none when they are made to the member's URLs.
    pub(super) lender: Option<Lender>,
    pub(super) way: Arc<Way>,
    /// Whether the member has answered on them.
    pub(super) spoken: Arc<AtomicBool>,
    /// Where it is noted that the cluster goes on without this member; none where anybody may
    /// answer.
    pub(super) notice: Option<Notice>,
    pub(super) since: Instant,
}

impl Link {
    /// Whether who answers is the member for sure, or as far as its URLs are its own: without a
    /// certificate, anybody can lend connections in its name.
    pub(crate) fn is_proven(&self) -> bool {
        self.lender.is_none_or(|lender| lender.is_proven)
    }

    /// Reads in a status whether the cluster goes on without this member.
    pub(crate) fn heed(&self, status: &Status) {
        self.notice.iter().for_each(|notice| heed(notice, status));
    }
}
