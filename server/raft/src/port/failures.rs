//! Failures, converted to statuses for the caller.

use openraft::errors::{Fatal, RaftError};
use tonic::Status;

use crate::log::types::TypeConfig;
use crate::network::codec;

pub(super) fn fatal(error: &Fatal<TypeConfig>) -> Status {
    Status::unavailable(error.to_string())
}

pub(super) fn failed(error: &RaftError<TypeConfig>) -> Status {
    Status::unavailable(error.to_string())
}

#[expect(clippy::needless_pass_by_value, reason = "as map_err wants it")]
pub(super) fn malformed(error: codec::Malformed) -> Status {
    Status::invalid_argument(error.to_string())
}
