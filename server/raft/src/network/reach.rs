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
}

impl Reach {
    /// Nothing was said yet.
    pub(crate) fn new(member: u64) -> Self {
        Self { member: format!("{member:x}"), said: Mutex::default() }
    }

    /// There is a connection.
    pub(crate) fn connected(&self) {
        if self.said.lock().cause.take().is_some() {
            tracing::info!(member = self.member, "connected to a member again");
        }
    }

    /// There is no connection.
    pub(crate) fn failed(&self, error: &io::Error) {
        let cause = error.to_string();
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
