//! One link: the connections to one member.

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
    /// For log entries.
    pub(crate) log: Client,
    /// For calls that must not wait behind others.
    pub(crate) control: Client,
    /// For snapshots.
    pub(crate) bulk: Client,
    /// For forwarded requests of clients.
    pub(crate) requests: Client,
    pub(crate) metrics: Arc<LinkMetrics>,
    /// Cancelled when the member must be called over other connections: open streams must then be
    /// opened again.
    pub(crate) outdated: CancellationToken,
    /// The lender of the connections; `None` if they go to the member's URLs.
    pub(super) lender: Option<Lender>,
    pub(super) way: Arc<Way>,
    /// Whether the member has answered on this link.
    pub(super) spoken: Arc<AtomicBool>,
    /// Exclusions of this member are posted here; `None` if the link is not proven: anyone may
    /// answer there.
    pub(super) notice: Option<Notice>,
    pub(super) since: Instant,
}

impl Link {
    /// Whether it is the member that answers. Its URLs count as proof; without a certificate,
    /// anyone can lend connections in its name.
    pub(crate) fn is_proven(&self) -> bool {
        self.lender.is_none_or(|lender| lender.is_proven)
    }

    /// Notes an exclusion of this member if the status reports one.
    pub(crate) fn heed(&self, status: &Status) {
        self.notice.iter().for_each(|notice| heed(notice, status));
    }
}
