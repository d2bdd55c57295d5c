//! Why a round of the operator's work did not end as it should.

use crate::gate::Closed;
use crate::{certificates, members};

/// Why a round of the operator's work did not end as it should. The next round begins anew.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server refused a request, or gave no answer.
    #[error("{doing}")]
    Kubernetes {
        /// The attempt, in words.
        doing: String,
        /// The cause.
        #[source]
        source: Box<kube::Error>,
    },
    /// The store refused a change, or gave no answer.
    #[error("{doing}")]
    Store {
        /// The attempt, in words.
        doing: String,
        /// The cause.
        #[source]
        source: members::Error,
    },
    /// A certificate could not be issued.
    #[error("issue certificates")]
    Certificate(#[from] certificates::Error),
    /// The plan needs an object that is no longer there.
    #[error("{0} is not there")]
    Missing(String),
    /// The round took too long, for example because a request had no answer.
    #[error("the round took too long")]
    TimedOut,
    /// This process may not act.
    #[error(transparent)]
    Closed(#[from] Closed),
}

impl Error {
    /// Turns an error of the API server into an [`Error`] that also names the attempt.
    pub fn kubernetes(doing: impl Into<String>) -> impl FnOnce(kube::Error) -> Self {
        move |source| Self::Kubernetes { doing: doing.into(), source: Box::new(source) }
    }

    /// Whether another process or person changed an object at the same time. The next round sees
    /// the change. A refusal because the object exists already does not count as a conflict: the
    /// object may still be there in the next round.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        let Self::Kubernetes { source, .. } = self else { return false };
        matches!(source.as_ref(), kube::Error::Api(status) if status.reason == "Conflict")
    }

    /// The error as a text, if the store refused for a reason that passes by itself.
    #[must_use]
    pub fn passing(&self) -> Option<String> {
        let is_passing = matches!(self, Self::Store { source: members::Error::NotYet(_), .. });
        is_passing.then(|| self.chain())
    }

    /// A short word for metrics.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Kubernetes { .. } if self.is_conflict() => "conflict",
            Self::Kubernetes { .. } => "kubernetes",
            Self::Store { .. } => "store",
            Self::Certificate(_) => "certificate",
            Self::Missing(_) => "missing",
            Self::TimedOut => "timeout",
            Self::Closed(_) => "closed",
        }
    }

    /// The error with its causes.
    #[must_use]
    pub fn chain(&self) -> String {
        // The API server's message is one sentence; the text of the error type is much longer.
        if let Self::Kubernetes { source, .. } = self
            && let kube::Error::Api(status) = source.as_ref()
        {
            return format!("{self}: {}", status.message);
        }
        causes(self)
    }
}

/// The texts of an error and of all its causes.
pub(crate) fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

/// Whether the API server refused a request because of another client's change: the object exists
/// already, or is no longer the one that was seen.
#[must_use]
pub fn is_conflict(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 409)
}

/// Whether the API server says that there is no such object.
#[must_use]
pub fn is_not_found(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404)
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    #[test]
    fn an_error_of_the_api_server_is_one_sentence() {
        let status = Status {
            code: 403,
            message: "pods \"main-1\" is forbidden: exceeded quota".to_owned(),
            reason: "Forbidden".to_owned(),
            ..Status::default()
        };
        let error = Error::kubernetes("create the Pod main-1")(kube::Error::Api(Box::new(status)));
        let text = "create the Pod main-1: pods \"main-1\" is forbidden: exceeded quota";
        assert_eq!(error.chain(), text);
        let source = members::Error::Refused("main-1: no".to_owned());
        let error = Error::Store { doing: "promote main-3".to_owned(), source };
        assert_eq!(error.chain(), "promote main-3: refused: main-1: no");
    }
}
