//! The leader's answers about leases, to its own clients and to other members.

use std::sync::Arc;

use tokio::sync::watch;

use super::lessor::{Lessor, Renewal, TimeToLive};
use crate::ground::consensus::RaftStatus;
use crate::read::ReadBarrier;

/// Answers about leases while this member leads.
pub(crate) struct Leases {
    pub(crate) me: u64,
    pub(crate) status: watch::Receiver<RaftStatus>,
    pub(crate) barrier: Arc<ReadBarrier>,
    pub(crate) lessor: Arc<Lessor>,
}

impl Leases {
    /// Whether this member leads, as far as it knows.
    fn leads(&self) -> bool {
        self.status.borrow().leader == Some(self.me)
    }

    /// Renews a lease to its full TTL; `None` when this member does not lead.
    ///
    /// Leadership is confirmed first. A leader elected after that gives every lease its full TTL,
    /// so the promise holds under any later leader.
    pub(crate) async fn renew_here(&self, id: i64) -> Option<Renewal> {
        if !self.leads() {
            return None;
        }
        self.barrier.pass().await.ok()?;
        match self.lessor.renew(id).await {
            Renewal::NotPrimary => None,
            renewal => Some(renewal),
        }
    }

    /// The remaining time of a lease, `Some(None)` if it does not exist; `None` when this member
    /// does not lead.
    pub(crate) async fn time_here(&self, id: i64) -> Option<Option<TimeToLive>> {
        if !self.leads() {
            return None;
        }
        self.barrier.pass().await.ok()?;
        self.lessor.time_to_live(id)
    }
}
