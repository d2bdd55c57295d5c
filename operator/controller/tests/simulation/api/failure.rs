//! A refusal, as an API server words it.

use serde_json::{Value, json};

/// A refusal. Clients tell refusals apart by the code and the reason.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The HTTP status.
    pub(crate) code: u16,
    /// The reason; empty if there is none.
    reason: &'static str,
    message: String,
}

impl Failure {
    /// The object does not exist.
    pub(crate) fn not_found(name: &str) -> Self {
        Self { code: 404, reason: "NotFound", message: format!("{name:?} not found") }
    }

    /// An object of that name exists.
    pub(crate) fn exists(name: &str) -> Self {
        Self { code: 409, reason: "AlreadyExists", message: format!("{name:?} already exists") }
    }

    /// The object is not in the state that the request expects.
    pub(crate) fn conflict(message: String) -> Self {
        Self { code: 409, reason: "Conflict", message }
    }

    /// The object would break a rule.
    pub(crate) fn invalid(message: String) -> Self {
        Self { code: 422, reason: "Invalid", message }
    }

    /// The request makes no sense.
    pub(crate) fn bad_request(message: String) -> Self {
        Self { code: 400, reason: "BadRequest", message }
    }

    /// The API server does not expect such a request.
    pub(crate) fn internal(message: String) -> Self {
        Self { code: 500, reason: "", message }
    }

    /// The `Status` object of this refusal.
    pub(crate) fn body(&self) -> Value {
        let mut body = json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "code": self.code,
        });
        if !self.reason.is_empty() {
            body["reason"] = json!(self.reason);
        }
        body
    }
}
