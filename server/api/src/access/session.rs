//! The client of an operation: its memory account, and its credentials.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, header};
use opentelemetry::global::BoxedSpan;
use quorate_core::auth::Origin;
use quorate_raft::Account;

use crate::tracer::Trace;
use crate::tracer::operation::Operation;

/// The metadata key of a token. gRPC clients use it.
static TOKEN: HeaderName = HeaderName::from_static("token");
/// Marks calls of the gateway.
static GATEWAY: HeaderName = HeaderName::from_static("grpcgateway-accept");

/// The proofs of its name that a client has shown.
#[derive(Clone, Debug, Default)]
pub(crate) struct Credentials {
    pub(super) token: Option<HeaderValue>,
    /// The common name of the client's certificate.
    pub(super) common_name: Option<Arc<str>>,
}

impl Credentials {
    /// The credentials of a call with these headers, on a connection whose certificate has this
    /// common name. As in etcd, calls of the gateway have no common name: a web page must not act
    /// as the owner of the browser's certificate.
    pub(super) fn of(headers: &HeaderMap, common_name: Option<&Arc<str>>) -> Self {
        let token = headers.get(&TOKEN).or_else(|| headers.get(header::AUTHORIZATION)).cloned();
        let common_name = common_name.filter(|_| !headers.contains_key(&GATEWAY)).cloned();
        Self { token, common_name }
    }
}

/// The user that a client has proved to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(super) name: Arc<str>,
    /// The revision of users and roles at which the client has proved to be the user.
    pub(super) revision: u64,
}

impl From<&Identity> for Origin {
    fn from(identity: &Identity) -> Self {
        Self::User { name: identity.name.clone(), revision: identity.revision }
    }
}

/// The credentials and the identity of a client. Empty for a call that began while authentication
/// was off.
#[derive(Clone, Debug, Default)]
pub(crate) struct Login {
    pub(super) credentials: Credentials,
    /// The identity of the client when the call began.
    pub(super) identity: Option<Identity>,
}

impl Login {
    pub(super) fn new(credentials: Credentials) -> Self {
        Self { credentials, identity: None }
    }
}

/// The client of an operation.
#[derive(Clone)]
pub(crate) struct Session {
    /// The memory account of its connection.
    pub(crate) account: Account,
    pub(super) login: Login,
    /// `None` if calls are not traced.
    trace: Option<Trace>,
}

impl Session {
    /// A client that was admitted with `login`, in a call that belongs to `trace`.
    pub(crate) fn new(account: Account, login: Login, trace: Option<Trace>) -> Self {
        Self { account, login, trace }
    }

    /// The span of an operation, if the call is traced. The span ends when it is dropped.
    pub(crate) fn span(&self, operation: impl FnOnce() -> Operation) -> Option<BoxedSpan> {
        self.trace.as_ref().and_then(|trace| trace.operation(operation))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(headers: &[(&'static str, &'static str)]) -> (Option<HeaderValue>, Option<Arc<str>>) {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_static(value));
        }
        let Credentials { token, common_name } = Credentials::of(&map, Some(&"alice".into()));
        (token, common_name)
    }

    #[test]
    fn a_token_comes_before_an_authorization_and_the_first_counts() {
        let token = |headers: &[_]| of(headers).0.map(|token| token.to_str().unwrap().to_owned());
        assert_eq!(token(&[]), None);
        assert_eq!(token(&[("authorization", "a")]).as_deref(), Some("a"));
        assert_eq!(token(&[("authorization", "a"), ("token", "b")]).as_deref(), Some("b"));
        assert_eq!(token(&[("token", "b"), ("token", "c")]).as_deref(), Some("b"));
        assert_eq!(token(&[("token", "")]).as_deref(), Some(""));
    }

    #[test]
    fn a_certificate_proves_nothing_to_the_gateway() {
        assert_eq!(of(&[]).1.as_deref(), Some("alice"));
        assert_eq!(of(&[("grpcgateway-accept", "*/*")]).1, None);
    }
}
