//! What the leader says of leases, here and to other members.

use std::sync::Arc;

use tokio::sync::watch;

use super::lessor::{Lessor, Renewal, TimeToLive};
use crate::ground::consensus::RaftStatus;
use crate::read::ReadBarrier;

/// Leases, as far as this member leads.
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

    /// Gives a lease its full time again; `None` when this member does not lead.
    ///
    /// Leadership is confirmed first: a leader elected after that gives every lease its full time,
    /// so that what is promised here holds whoever leads.
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

    /// The time of a lease, which may not exist; `None` when this member does not lead.
    pub(crate) async fn time_here(&self, id: i64) -> Option<Option<TimeToLive>> {
        if !self.leads() {
            return None;
        }
        self.barrier.pass().await.ok()?;
        self.lessor.time_to_live(id)
    }
}
