//! Whether all members can apply a kind of command.

use std::time::Duration;

use futures_util::future::join_all;
use quorate_proto::peer as pb;

use super::Member;
use crate::ground::request::RequestError;

/// Pause before a member is asked again.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

impl Member {
    /// Whether all members can apply commands of this format. A member that cannot would take no
    /// more entries after the first such command.
    ///
    /// # Errors
    /// `Timeout` if not all members answer in time.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub async fn all_apply(&self, format: u8) -> Result<bool, RequestError> {
        let me = self.identity.member_id;
        let others: Vec<u64> = self.pool.members().borrow().keys().copied().collect();
        let others = others.into_iter().filter(|id| *id != me);
        let asked = join_all(others.map(|id| self.applies(id, format)));
        let answers = tokio::time::timeout(self.options.request_timeout, asked).await;
        let answers = answers.map_err(|_| RequestError::Timeout)?;
        Ok(answers.into_iter().all(|applies| applies))
    }

    async fn applies(&self, id: u64, format: u8) -> bool {
        loop {
            // A removed member need not apply anything.
            let Some(mut peer) = self.pool.peer(id) else { return true };
            let asked = peer.control.describe(pb::DescribeRequest {});
            match tokio::time::timeout(self.options.election_timeout, asked).await {
                Ok(Ok(reply)) => return reply.into_inner().command_format >= u32::from(format),
                Ok(Err(_)) | Err(_) => tokio::time::sleep(RETRY_PAUSE).await,
            }
        }
    }
}
