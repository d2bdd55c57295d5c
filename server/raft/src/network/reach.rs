//! Whether a member can be reached, said once for each reason.

use std::io;

use parking_lot::Mutex;
use tonic::Status;

/// What was said last of the way to one member.
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
    /// Whether it is called over connections that it has opened.
    is_lent: bool,
}

impl Reach {
    /// Nothing was said yet.
    pub(crate) fn new(member: u64) -> Self {
        Self { member: format!("{member:x}"), said: Mutex::default() }
    }

    /// There is a connection.
    pub(crate) fn connected(&self) {
        let mut said = self.said.lock();
        let was_lent = std::mem::take(&mut said.is_lent);
        if said.cause.take().is_some() || was_lent {
            tracing::info!(member = self.member, "connected to a member again");
        }
    }

    /// There is a connection that the member has opened.
    pub(crate) fn lent(&self) {
        let mut said = self.said.lock();
        if !std::mem::replace(&mut said.is_lent, true) {
            let member = self.member.as_str();
            tracing::info!(member, "a member is called over connections that it has opened");
        }
    }

    /// There is no connection.
    pub(crate) fn failed(&self, error: &io::Error) {
        self.fails(error.to_string());
    }

    /// There is one, but not to the member.
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

    /// Who answers takes a call, or refuses it for what it is or for who makes it.
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
