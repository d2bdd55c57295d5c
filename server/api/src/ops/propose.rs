//! Proposals of clients, and the memory for their answers.

use std::sync::Arc;

use quorate_core::{Command, Error, Reply};
use quorate_raft::{Account, Permit, Reservation};

use crate::access::grant::Grant;
use crate::error::ApiError;
use crate::memory::{ANSWER_WITHIN, CALL_BYTES, take};
use crate::scan::{Client, Scanned};
use crate::server::Server;

impl Server {
    /// Proposes a client's command, which `grant` allows. `length` is the encoded length of the
    /// client's request, and `reserved` the disk space for it.
    ///
    /// # Errors
    /// The request is too large, or the proposal fails.
    pub(super) async fn propose(
        &self,
        command: &Command,
        grant: &Grant,
        length: usize,
        reserved: Option<Reservation>,
    ) -> Result<Reply, ApiError> {
        if self.replicated_len(length) > self.options().max_request_bytes {
            self.member().durations().refused(command.kind());
            return Err(ApiError::RequestTooLarge);
        }
        Ok(self.member().propose(command, grant.origin(), reserved).await?)
    }

    /// The length that the request would have in etcd's log. etcd applies its limit to this length:
    /// a header with the request id, and the request as a field.
    fn replicated_len(&self, length: usize) -> usize {
        // etcd's request ids begin with the lower 16 bits of the member id. The highest of these
        // bits decides the length of the id as a varint.
        let long_id = self.member().identity().member_id & 0x8000 != 0;
        let header = 13 + usize::from(long_id);
        header + 1 + prost::encoding::encoded_len_varint(length as u64) + length
    }

    /// Takes memory for the answer to a write, before the write is proposed: once applied, it must
    /// be answered. The size of the answer is measured against the current state. `None` if the
    /// call's own memory is enough.
    ///
    /// # Errors
    /// The memory budget has no room, or the state cannot be read.
    pub(super) async fn make_room(
        &self,
        account: &Account,
        command: &Command,
    ) -> Result<Option<Permit>, ApiError> {
        let measured = if command.has_ranges() {
            let server = self.clone();
            let command = command.clone();
            let measure = move |client: &Arc<Client>| {
                server.member().view().with_context(client.clone()).measure(&command)
            };
            let Scanned { result, kept } = self.scans().scan(account, measure).await?;
            match result {
                Ok(_) => return Ok(Some(kept)),
                Err(error) => Err(error),
            }
        } else {
            self.member().view().measure(command)
        };
        match measured {
            Ok(bytes) if bytes <= CALL_BYTES => Ok(None),
            Ok(bytes) => take(account, bytes, ANSWER_WITHIN).await.map(Some),
            Err(Error::Fault(fault)) => Err(self.fault(&fault)),
            // The state machine will refuse the command with this error.
            Err(Error::Refusal(_)) => Ok(None),
        }
    }
}

/// The error for a reply that does not fit its command. The state machine never returns one.
pub(super) fn wrong_reply(reply: &Reply) -> ApiError {
    tracing::error!(?reply, "the state machine returned a reply of the wrong type");
    ApiError::UnexpectedReply
}
