//! Logs whether a member can be reached, once for each cause.

use std::io;

use parking_lot::Mutex;
use tonic::Status;

/// The last logged state of the connections to one member.
pub(crate) struct ReachLog {
    member: String,
    logged: Mutex<Logged>,
}

#[derive(Default)]
struct Logged {
    /// Why there is no connection.
    cause: Option<String>,
    /// Why the member refuses calls.
    refusal: Option<String>,
    /// Whether the member is called over reverse connections.
    is_reversed: bool,
}

impl ReachLog {
    /// Nothing has been logged yet.
    pub(crate) fn new(member: u64) -> Self {
        Self { member: format!("{member:x}"), logged: Mutex::default() }
    }

    /// Notes that a connection to a URL is open, or that the member answers there.
    pub(crate) fn connected(&self) {
        let mut logged = self.logged.lock();
        let was_reversed = std::mem::take(&mut logged.is_reversed);
        if logged.cause.take().is_some() || was_reversed {
            tracing::info!(member = self.member, "connected to a member again");
        }
    }

    /// Notes that a reverse connection is in use.
    pub(crate) fn reversed(&self) {
        let mut logged = self.logged.lock();
        if !std::mem::replace(&mut logged.is_reversed, true) {
            let member = self.member.as_str();
            tracing::info!(member, "a member is called over its reverse connections");
        }
    }

    /// Notes that a connection attempt has failed.
    pub(crate) fn failed(&self, error: &io::Error) {
        self.fails(error.to_string());
    }

    /// Notes that a connection is open, but the server does not answer as the member.
    pub(crate) fn unanswered(&self) {
        self.fails("the server at its URL does not answer as this member".to_owned());
    }

    fn fails(&self, cause: String) {
        let mut logged = self.logged.lock();
        if logged.cause.as_ref() != Some(&cause) {
            tracing::warn!(member = self.member, cause, "cannot connect to a member");
            logged.cause = Some(cause);
        }
    }

    /// Notes the answer to a call: whether the server refuses it because of the caller, or because
    /// it is not the server that the caller means.
    pub(crate) fn answered(&self, status: Option<&Status>) {
        let refusal = status.filter(|status| {
            matches!(status.code(), tonic::Code::FailedPrecondition | tonic::Code::PermissionDenied)
        });
        let refusal = refusal.map(Status::message);
        let mut logged = self.logged.lock();
        if logged.refusal.as_deref() == refusal {
            return;
        }
        if let Some(cause) = refusal {
            tracing::warn!(member = self.member, cause, "a member refuses calls");
        }
        logged.refusal = refusal.map(str::to_owned);
    }
}
