//! The withdrawal of a claim whose call has ended before its turn.

use quorate_proto::etcdserverpb as pb;

use crate::access::session::Session;
use crate::server::Server;

/// Withdraws a claim when this value is dropped. A call drops it when the client is gone or the
/// deadline has passed.
pub(crate) struct Withdrawal {
    server: Server,
    session: Session,
    request: Option<pb::TxnRequest>,
}

impl Withdrawal {
    /// A withdrawal by this transaction. It is tried once; if it fails, the claim ends with its
    /// lease.
    pub(crate) fn new(server: &Server, session: &Session, request: pb::TxnRequest) -> Self {
        Self { server: server.clone(), session: session.clone(), request: Some(request) }
    }

    /// Keeps the claim.
    pub(crate) fn disarm(&mut self) {
        self.request = None;
    }
}

impl Drop for Withdrawal {
    fn drop(&mut self) {
        let Some(request) = self.request.take() else { return };
        let server = self.server.clone();
        let session = self.session.clone();
        self.server.tasks().spawn(async move {
            if let Err(error) = server.txn(&session, request).await {
                tracing::debug!(?error, "a claim stays until its lease ends");
            }
        });
    }
}
