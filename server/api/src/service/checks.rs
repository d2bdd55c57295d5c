//! Checks a call by its method and metadata, before any of its body is read.

use http::HeaderMap;

use crate::error::ApiError;
use crate::grpc::needs_leader;
use crate::method::{LearnerRule, Method, MethodKind};
use crate::metrics::NO_VERSION;
use crate::server::Server;

/// The metadata key of the client's API version.
const CLIENT_API_VERSION: &str = "client-api-version";

/// Refuses a call that this member must not answer. Counts the client's API version.
///
/// # Errors
/// This member is a learner and the method refuses learners, the API version is not text, or the
/// client requires a leader and there is none.
pub(super) fn check_call(
    server: &Server,
    method: &Method,
    headers: &HeaderMap,
) -> Result<(), ApiError> {
    if method.learners == LearnerRule::Refuses && server.member().is_learner() {
        return Err(ApiError::NotSupportedForLearner);
    }
    let version = match headers.get(CLIENT_API_VERSION) {
        None => NO_VERSION,
        Some(value) => value.to_str().map_err(|_| ApiError::InvalidClientApiVersion)?,
    };
    let kind = if method.kind == MethodKind::Unary { "unary" } else { "stream" };
    server.metrics().client_requests.count(kind, version);
    if needs_leader(headers) && server.member().status_now().leader.is_none() {
        return Err(ApiError::NoLeader);
    }
    Ok(())
}
