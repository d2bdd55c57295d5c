//! Logs whether a member can be reached, once for each cause.

use std::io;

use parking_lot::Mutex;
use tonic::Status;

/// What was last logged about the way to one member.
pub(crate) struct Reach {
    member: String,
    said: Mutex<Said>,
}

#[derive(Default)]
struct Said {
    /// Why there is no connection.
    cause: Option<String>,
    /// Why the member refuses calls.
    refusal: Option<String>,
    /// Whether the member is called over connections that it lends.
    is_lent: bool,
}

impl Reach {
    /// Nothing has been logged yet.
    pub(crate) fn new(member: u64) -> Self {
        Self { member: format!("{member:x}"), said: Mutex::default() }
    }

    /// Notes that a connection to a URL is open, or that the member answers there.
    pub(crate) fn connected(&self) {
        let mut said = self.said.lock();
        let was_lent = std::mem::take(&mut said.is_lent);
        if said.cause.take().is_some() || was_lent {
            tracing::info!(member = self.member, "connected to a member again");
        }
    }

    /// Notes that a lent connection is in use.
    pub(crate) fn lent(&self) {
        let mut said = self.said.lock();
        if !std::mem::replace(&mut said.is_lent, true) {
            let member = self.member.as_str();
            tracing::info!(member, "a member is called over connections that it has opened");
        }
    }

    /// Notes that a connection attempt has failed.
    pub(crate) fn failed(&self, error: &io::Error) {
        self.fails(error.to_string());
    }

    /// Notes that a connection is open, but the server does not answer as the member.
    pub(crate) fn misled(&self) {
        self.fails("who is at its URL does not answer as this member".to_owned());
    }

    fn fails(&self, cause: String) {
        let mut said = self.said.lock();
        if said.cause.as_ref() != Some(&cause) {
            tracing::warn!(member = self.member, cause, "cannot connect to a member");
            said.cause = Some(cause);
        }
    }

    /// Notes the answer to a call: whether the server refuses it because of the caller, or because
    /// it is not the server that the caller means.
    pub(crate) fn answered(&self, status: Option<&Status>) {
        let refusal = status.filter(|status| {
            matches!(status.code(), tonic::Code::FailedPrecondition | tonic::Code::PermissionDenied)
        });
        let refusal = refusal.map(Status::message);
        let mut said = self.said.lock();
        if said.refusal.as_deref() == refusal {
            return;
        }
        if let Some(cause) = refusal {
            tracing::warn!(member = self.member, cause, "a member refuses calls");
        }
        said.refusal = refusal.map(str::to_owned);
    }
}
