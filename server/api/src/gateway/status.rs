//! Errors in the form of etcd's gateway. They also have the fields of the gateway of earlier
//! releases, because older clients read those fields.

use http::StatusCode;
use serde_json::json;
use tonic::{Code, Status};

/// The HTTP status of a cancelled request. The standard has neither this number nor a name for it.
const CLIENT_CLOSED: u16 = 499;

/// The HTTP status of a code.
pub(crate) fn http_status(code: Code) -> StatusCode {
    match code {
        Code::Ok => StatusCode::OK,
        Code::Cancelled => StatusCode::from_u16(CLIENT_CLOSED).expect("three digits"),
        Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => {
            StatusCode::BAD_REQUEST
        }
        Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::AlreadyExists | Code::Aborted => StatusCode::CONFLICT,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        Code::Unimplemented => StatusCode::NOT_IMPLEMENTED,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::Unknown | Code::Internal | Code::DataLoss => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// The body of a failed call that has one answer.
pub(super) fn unary(status: &Status) -> String {
    let text = status.message();
    json!({ "error": text, "code": status.code() as i32, "message": text }).to_string()
}

/// The line that ends a stream of answers that has failed.
pub(super) fn stream(status: &Status) -> String {
    let code = status.code() as i32;
    let http = http_status(status.code());
    let error = json!({
        "code": code,
        "message": status.message(),
        "grpc_code": code,
        "http_code": http.as_u16(),
        "http_status": http.canonical_reason().unwrap_or_default(),
    });
    format!("{}\n", json!({ "error": error }))
}
