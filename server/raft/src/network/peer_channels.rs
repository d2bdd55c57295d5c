//! The channels to one member.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::calls::Client;
use super::connector::Urls;
use super::refusal::note_exclusion;
use super::reverse_pool::Initiator;
use super::route::Route;
use crate::ground::exclusion::Notice;
use crate::metrics::peers::ConnectionMetrics;

/// The channels to one member, one for each kind of call. Each has its own connection, which it
/// opens on first use.
#[derive(Clone)]
pub(crate) struct PeerChannels {
    pub(super) urls: Urls,
    /// The channel for log entries.
    pub(crate) log: Client,
    /// The channel for calls that must not wait behind others.
    pub(crate) control: Client,
    /// The channel for snapshots.
    pub(crate) bulk: Client,
    /// The channel for forwarded requests of clients.
    pub(crate) requests: Client,
    pub(crate) metrics: Arc<ConnectionMetrics>,
    /// Cancelled when the member must be called by another route: open streams must then be opened
    /// again.
    pub(crate) outdated: CancellationToken,
    /// The initiator of the reverse connections; `None` if the channels go to the member's URLs.
    pub(super) initiator: Option<Initiator>,
    pub(super) route: Arc<Route>,
    /// Whether the member has answered on one of these channels.
    pub(super) has_answered: Arc<AtomicBool>,
    /// Exclusions of this member are posted here; `None` if the channels are not proven: any
    /// program may answer there.
    pub(super) notice: Option<Notice>,
    pub(super) since: Instant,
}

impl PeerChannels {
    /// Whether answers certainly come from the member. Answers at its URLs count as proven; without
    /// a certificate, any program can open reverse connections in its name.
    pub(crate) fn is_proven(&self) -> bool {
        self.initiator.is_none_or(|initiator| initiator.is_proven)
    }

    /// Notes an exclusion of this member if the status reports one.
    pub(crate) fn note_exclusion(&self, status: &Status) {
        self.notice.iter().for_each(|notice| note_exclusion(notice, status));
    }
}
