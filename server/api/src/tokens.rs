//! Tokens. A client gets a token for a password, and proves its name by the token from then on.

pub mod jwt;
pub mod simple;

use std::sync::Arc;
use std::time::{Duration, Instant};

use quorate_raft::LoginListener;

use self::jwt::Jwt;
use self::simple::SimpleTokens;

/// The kind of the tokens that a member gives and accepts.
#[derive(Clone, Debug)]
pub enum TokenKind {
    /// Random tokens that every member keeps in memory. A token ends when the time to live has
    /// passed since its last use.
    Simple {
        /// The time to live.
        ttl: Duration,
    },
    /// Tokens that are signed by these keys.
    Jwt(Jwt),
    /// No tokens: clients prove their names by certificates only.
    Disabled,
}

/// The user that a valid token proves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proven {
    /// The name of the user.
    pub user: Arc<str>,
    /// The revision of users and roles that the token is for; `None` if it is for any.
    pub revision: Option<u64>,
}

/// The tokens of a member.
#[derive(Debug)]
pub enum Tokens {
    /// Random tokens, kept in memory.
    Simple(SimpleTokens),
    /// Signed tokens.
    Jwt(Jwt),
    /// No tokens.
    Disabled,
}

impl Tokens {
    /// Tokens of this kind, none of which has been given yet.
    pub fn new(kind: &TokenKind) -> Self {
        match kind {
            TokenKind::Simple { ttl } => Self::Simple(SimpleTokens::new(*ttl)),
            TokenKind::Jwt(jwt) => Self::Jwt(jwt.clone()),
            TokenKind::Disabled => Self::Disabled,
        }
    }

    /// The user that a token proves; `None` if the token is not valid. This renews
    /// the time to live of a simple token.
    pub fn verify(&self, token: &str, now: Instant) -> Option<Proven> {
        match self {
            Self::Simple(tokens) => {
                let user = tokens.user_of(token, now)?;
                Some(Proven { user, revision: None })
            }
            Self::Jwt(jwt) => {
                let (user, revision) = jwt.verify(token)?;
                Some(Proven { user: user.into(), revision: Some(revision) })
            }
            Self::Disabled => None,
        }
    }

    /// The index of the log entry that gave a simple token; `None` for any other text.
    pub fn entry_of(&self, token: &str) -> Option<u64> {
        match self {
            Self::Simple(_) => simple::entry_of(token),
            Self::Jwt(_) | Self::Disabled => None,
        }
    }
}

impl LoginListener for Tokens {
    fn began(&self, token: String, user: String) {
        match self {
            Self::Simple(tokens) => tokens.add(token, user, Instant::now()),
            Self::Jwt(_) | Self::Disabled => {}
        }
    }

    fn ended(&self, user: Option<&str>) {
        match (self, user) {
            (Self::Simple(tokens), Some(user)) => tokens.end_user(user),
            (Self::Simple(tokens), None) => tokens.end_all(),
            (Self::Jwt(_) | Self::Disabled, _) => {}
        }
    }
}
