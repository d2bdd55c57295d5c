//! The withdrawal of a claim whose call has ended before its turn.

use quorate_proto::etcdserverpb as pb;
use quorate_raft::Account;

use crate::server::Server;

/// Withdraws a claim when it is dropped. A call is dropped when its client is gone or its deadline
/// has passed.
pub(crate) struct Withdrawal {
    server: Server,
    account: Account,
    request: Option<pb::TxnRequest>,
}

impl Withdrawal {
    /// A withdrawal by this transaction. It is tried once; if it fails, the claim ends with its
    /// lease.
    pub(crate) fn new(server: &Server, account: &Account, request: pb::TxnRequest) -> Self {
        Self { server: server.clone(), account: account.clone(), request: Some(request) }
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
        let account = self.account.clone();
        self.server.tasks().spawn(async move {
            if let Err(error) = server.txn(&account, request).await {
                tracing::debug!(?error, "a claim stays until its lease ends");
            }
        });
    }
}
