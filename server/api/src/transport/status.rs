//! Errors as gRPC statuses.

use tonic::Status;

use crate::error::ApiError;

impl From<ApiError> for Status {
    fn from(error: ApiError) -> Self {
        Self::new(error.code(), error.text())
    }
}

/// The error that ends a client's stream of requests.
pub(crate) fn requests_failed(status: Status) -> ApiError {
    ApiError::Other(status.code(), status.message().to_owned())
}
