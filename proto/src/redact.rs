//! `Debug` for the messages that carry secrets: a log line with a request must not show a password,
//! its hash or a token.
//!
//! Each message is destructured without `..`, so a new field does not compile until it is handled
//! here.

use std::fmt::{Debug, Formatter, Result};

use crate::authpb::User;
use crate::etcdserverpb::{
    AuthUserAddRequest, AuthUserChangePasswordRequest, AuthenticateRequest, AuthenticateResponse,
};

/// Replaces a secret. Shows whether the secret is empty, because a missing password is useful to
/// know.
struct Redacted(bool);

impl Redacted {
    fn new(secret: impl AsRef<[u8]>) -> Self {
        Self(!secret.as_ref().is_empty())
    }
}

impl Debug for Redacted {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.write_str(if self.0 { "<redacted>" } else { "<empty>" })
    }
}

impl Debug for User {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let Self { name, password, roles, options } = self;
        f.debug_struct("User")
            .field("name", name)
            .field("password", &Redacted::new(password))
            .field("roles", roles)
            .field("options", options)
            .finish()
    }
}

impl Debug for AuthenticateRequest {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let Self { name, password } = self;
        f.debug_struct("AuthenticateRequest")
            .field("name", name)
            .field("password", &Redacted::new(password))
            .finish()
    }
}

impl Debug for AuthenticateResponse {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let Self { header, token } = self;
        f.debug_struct("AuthenticateResponse")
            .field("header", header)
            .field("token", &Redacted::new(token))
            .finish()
    }
}

impl Debug for AuthUserAddRequest {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let Self { name, password, options, hashed_password } = self;
        f.debug_struct("AuthUserAddRequest")
            .field("name", name)
            .field("password", &Redacted::new(password))
            .field("options", options)
            .field("hashed_password", &Redacted::new(hashed_password))
            .finish()
    }
}

impl Debug for AuthUserChangePasswordRequest {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let Self { name, password, hashed_password } = self;
        f.debug_struct("AuthUserChangePasswordRequest")
            .field("name", name)
            .field("password", &Redacted::new(password))
            .field("hashed_password", &Redacted::new(hashed_password))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every secret is "hunter2". No message may show it; every request must show the name.
    #[test]
    fn secrets_are_not_shown() {
        let text = || String::from("hunter2");
        let name = || String::from("alice");
        let shown = [
            format!(
                "{:?}",
                User { name: name().into(), password: text().into(), ..User::default() }
            ),
            format!("{:?}", AuthenticateRequest { name: name(), password: text() }),
            format!(
                "{:?}",
                AuthUserAddRequest {
                    name: name(),
                    password: text(),
                    options: None,
                    hashed_password: text(),
                }
            ),
            format!(
                "{:?}",
                AuthUserChangePasswordRequest {
                    name: name(),
                    password: text(),
                    hashed_password: text(),
                }
            ),
        ];
        for shown in shown {
            assert!(!shown.contains("hunter2"), "{shown}");
            assert!(shown.contains("alice") && shown.contains("<redacted>"), "{shown}");
        }
        let response = AuthenticateResponse { header: None, token: text() };
        assert_eq!(
            format!("{response:?}"),
            "AuthenticateResponse { header: None, token: <redacted> }"
        );
        assert!(format!("{:?}", AuthenticateRequest::default()).contains("password: <empty>"));
    }
}
