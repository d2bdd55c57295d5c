//! Locks. The oldest claim owns the lock.

use bytes::Bytes;
use quorate_proto::etcdserverpb as pb;
use quorate_proto::v3lockpb::{LockRequest, LockResponse, UnlockRequest, UnlockResponse};

use super::claims::withdrawal::Withdrawal;
use super::claims::{deletion, oldest, prefix, row, transaction};
use crate::access::session::Session;
use crate::error::ApiError;
use crate::server::Server;

impl Server {
    /// Waits until the caller owns the lock. If the call ends before that, its claim is withdrawn.
    ///
    /// # Errors
    /// The lease does not exist, or ended meanwhile; or a write, a read or the watch fails.
    pub(crate) async fn lock(
        &self,
        session: &Session,
        request: LockRequest,
    ) -> Result<LockResponse, ApiError> {
        self.acquire(session, request).await.map_err(ApiError::without_code)
    }

    async fn acquire(
        &self,
        session: &Session,
        request: LockRequest,
    ) -> Result<LockResponse, ApiError> {
        let lease = self.lease_of(session, request.lease).await?;
        let owner = oldest(&prefix(&request.name));
        let claimed = self.claim(session, &request.name, lease, Bytes::new(), Some(owner)).await?;
        let (claim, answered) = claimed;
        let owner = row(&answered.message, 1);
        if owner.is_none_or(|owner| owner.create_revision == claim.revision) {
            return Ok(LockResponse { header: answered.message.header, key: claim.key });
        }
        drop(answered);
        let withdraw = transaction(Vec::new(), vec![deletion(&claim.key)]);
        let mut withdrawal = Withdrawal::new(self, session, withdraw);
        let header = self.await_turn(session, &claim).await?;
        withdrawal.disarm();
        let header = Some(header.ok_or(ApiError::SessionExpired)?);
        Ok(LockResponse { header, key: claim.key })
    }

    /// Releases a lock.
    ///
    /// # Errors
    /// The key is missing in the request, or the deletion fails.
    pub(crate) async fn unlock(
        &self,
        session: &Session,
        request: UnlockRequest,
    ) -> Result<UnlockResponse, ApiError> {
        let request = pb::DeleteRangeRequest { key: request.key, ..Default::default() };
        let deleted = self.delete_range(session, request).await;
        let header = deleted.map_err(ApiError::without_code)?.message.header;
        Ok(UnlockResponse { header })
    }
}
