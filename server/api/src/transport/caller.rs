//! The client at the other end of a connection, as far as the member knows it.

use std::sync::Arc;

use bytes::Bytes;
use quorate_raft::Account;

use super::intake::Intake;
use crate::access::session::Login;
use crate::tracer::Trace;

/// The client of a connection. Every call of the connection has this `Caller` as an extension.
/// Clones share the account and the read limit.
#[derive(Clone)]
pub struct Caller {
    pub(crate) account: Account,
    pub(crate) intake: Intake,
    certificate: Option<Bytes>,
    /// The common name of the certificate, if the name proves the identity of the client.
    pub(crate) common_name: Option<Arc<str>>,
    /// The identity of the client of the call.
    pub(crate) login: Login,
    /// Whether the connection uses TLS.
    pub(crate) is_secure: bool,
    /// The trace that the call belongs to; `None` if calls are not traced.
    pub(crate) trace: Option<Trace>,
}

impl Caller {
    /// The caller of a new connection, with a memory account of its own. `certificate` is the
    /// client's verified certificate in DER. `is_secure` says whether the connection uses TLS.
    pub(crate) fn new(account: Account, certificate: Option<Bytes>, is_secure: bool) -> Self {
        let intake = Intake::default();
        let login = Login::default();
        let common_name = None;
        Self { account, intake, certificate, common_name, login, is_secure, trace: None }
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
