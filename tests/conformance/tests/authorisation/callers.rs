//! The callers: users with every kind of permission, and clients without a sound token.

use quorate_proto::authpb::permission::Type::{self, Read, Readwrite, Write};

/// The end of a range without end; also the first key.
pub(crate) const NUL: &str = "\0";
/// The password of all users.
pub(crate) const PASSWORD: &str = "a password";
/// The role that permits everything, and its user.
pub(crate) const ROOT: &str = "root";
/// A user that is deleted while it has a token.
pub(crate) const DELETED: &str = "deleted";

/// A permission: its type, key and range end.
pub(crate) type Grant = (Type, &'static str, &'static str);

/// The roles with their permissions.
pub(crate) const ROLES: &[(&str, &[Grant])] = &[
    ("empty", &[]),
    ("elsewhere", &[(Readwrite, "x", "y")]),
    ("a-reader", &[(Read, "a", "b")]),
    ("a-writer", &[(Write, "a", "b")]),
    ("a-owner", &[(Readwrite, "a", "b")]),
    ("b-owner", &[(Readwrite, "b", "c")]),
    ("split", &[(Read, "a", "c"), (Write, "a", "b"), (Write, "z5", "")]),
    ("key", &[(Readwrite, "a5", "")]),
    ("from-m", &[(Readwrite, "m", NUL)]),
    ("reader", &[(Read, NUL, NUL)]),
    ("writer", &[(Write, NUL, NUL)]),
    ("owner", &[(Readwrite, NUL, NUL)]),
];

/// The users with their roles. Their order is that of [`CALLERS`].
pub(crate) const USERS: &[(&str, &[&str])] = &[
    (ROOT, &[ROOT]),
    ("admin", &["a-reader", ROOT]),
    ("no-role", &[]),
    ("empty-role", &["empty"]),
    ("stranger", &["elsewhere"]),
    ("a-reader", &["a-reader"]),
    ("a-writer", &["a-writer"]),
    ("a-owner", &["a-owner"]),
    ("ab-owner", &["a-owner", "b-owner"]),
    ("split", &["split"]),
    ("key-owner", &["key"]),
    ("m-owner", &["from-m"]),
    ("reader", &["reader"]),
    ("writer", &["writer"]),
    ("owner", &["owner"]),
];

/// The token that a caller sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Token {
    /// No token.
    Absent,
    /// This text, which is no token.
    Text(&'static str),
    /// The token of a user that is deleted.
    OfDeleted,
    /// The token of a user.
    Of(&'static str),
}

/// How the token is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Header {
    /// In the header `token`, as etcd's Go client sends it.
    Token,
    /// In the header `authorization`.
    Authorization,
    /// There, as a bearer token.
    Bearer,
    /// In the header `token`, with the token of root in the header `authorization`.
    TokenFirst,
}

/// A caller.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caller {
    pub(crate) token: Token,
    pub(crate) header: Header,
}

const fn caller(token: Token, header: Header) -> Caller {
    Caller { token, header }
}

/// All callers.
pub(crate) fn callers() -> Vec<Caller> {
    let unknown = [
        caller(Token::Absent, Header::Token),
        caller(Token::Text("x"), Header::Token),
        caller(Token::Text(""), Header::Authorization),
        caller(Token::Text("abcdefghijklmnop.1"), Header::Bearer),
        caller(Token::Text("a.b.c"), Header::TokenFirst),
        caller(Token::OfDeleted, Header::Token),
    ];
    let headers = [Header::Token, Header::Authorization, Header::Bearer];
    let known = USERS.iter().zip(headers.into_iter().cycle());
    let known = known.map(|((name, _), header)| caller(Token::Of(name), header));
    unknown.into_iter().chain(known).collect()
}
