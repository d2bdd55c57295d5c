//! The proof that a request was checked.

use quorate_core::auth::Origin;

use crate::error::ApiError;
use crate::server::Server;

/// The proof that a request was checked, or that authentication was off.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Grant {
    origin: Origin,
    /// The revision of users and roles at which the request was checked; 0 if authentication was
    /// off.
    revision: u64,
}

impl Grant {
    /// The proof for a request that was checked for `origin`.
    pub(super) fn new(origin: Origin) -> Self {
        let revision = match &origin {
            Origin::User { revision, .. } => *revision,
            // Authentication was turned off while the request was checked.
            Origin::Unknown | Origin::Cluster => 0,
        };
        Self { origin, revision }
    }

    /// The author of the request.
    pub(crate) fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Checks, after a read, that the client still has the rights for the read.
    ///
    /// # Errors
    /// Users or roles have changed since the check, or authentication was turned on or off.
    pub(crate) fn still_holds(&self, server: &Server) -> Result<(), ApiError> {
        let is_same = server.member().store().auth_revision() == self.revision;
        if is_same { Ok(()) } else { Err(ApiError::AuthOldRevision) }
    }
}
