//! The client at the other end of a connection, as far as the member knows it.

use bytes::Bytes;
use quorate_raft::Account;

use super::intake::Intake;

/// The client of a connection. Every call of the connection has this `Caller` as an extension.
/// Clones share the account and the read limit.
#[derive(Clone)]
pub struct Caller {
    pub(crate) account: Account,
    pub(crate) intake: Intake,
    certificate: Option<Bytes>,
    /// Whether the connection uses TLS.
    pub(crate) is_secure: bool,
}

impl Caller {
    /// The caller of a new connection, with a memory account of its own. `certificate` is the
    /// client's verified certificate in DER. `is_secure` says whether the connection uses TLS.
    pub(crate) fn new(account: Account, certificate: Option<Bytes>, is_secure: bool) -> Self {
        Self { account, intake: Intake::default(), certificate, is_secure }
    }

    /// The read limit of the connection.
    pub fn intake(&self) -> &Intake {
        &self.intake
    }

    /// The certificate in DER that the client has presented, if any. It was verified in the
    /// handshake.
    pub fn certificate(&self) -> Option<&Bytes> {
        self.certificate.as_ref()
    }
}
