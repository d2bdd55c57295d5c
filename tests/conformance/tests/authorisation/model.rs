//! The right answers: etcd's rules, written down without any code of the server.

use quorate_proto::authpb::permission::Type::{self, Readwrite};

use crate::callers::{Caller, NUL, ROLES, ROOT, Token, USERS};

/// Access to the keys of a range: the permission's type, the key and the range end.
pub(crate) type Need = (Type, &'static str, &'static str);

/// The demands of a request on its caller.
#[derive(Clone, Debug, Default)]
pub(crate) struct Needs {
    /// Whether the caller is looked at: with `false`, even an unsound token does no harm.
    pub(crate) looks: bool,
    /// Whether the caller must be a user.
    pub(crate) user: bool,
    /// Whether the user must have the role root.
    pub(crate) root: bool,
    /// A user, or all users with a role, that need not have the role root.
    pub(crate) unless: Option<Exception>,
    /// The keys that the user must be permitted to access.
    pub(crate) keys: Vec<Need>,
}

/// Users that may ask about themselves.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Exception {
    /// This user.
    Is(&'static str),
    /// All users with this role.
    Has(&'static str),
}

impl Needs {
    /// Nothing, not even a look at the token.
    pub(crate) fn nothing() -> Self {
        Self::default()
    }

    /// No unsound token.
    pub(crate) fn no_unsound_token() -> Self {
        Self { looks: true, ..Self::default() }
    }

    /// Any user.
    pub(crate) fn user() -> Self {
        Self { user: true, ..Self::no_unsound_token() }
    }

    /// A user with the role root.
    pub(crate) fn root() -> Self {
        Self { root: true, ..Self::user() }
    }

    /// A user with the role root, or a user of this exception.
    pub(crate) fn root_unless(unless: Exception) -> Self {
        Self { unless: Some(unless), ..Self::root() }
    }

    /// A user who may access these keys. Without keys, any caller will do.
    pub(crate) fn keys(keys: Vec<Need>) -> Self {
        Self { keys, ..Self::no_unsound_token() }
    }

    /// Any user, who may access these keys.
    pub(crate) fn user_with(keys: Vec<Need>) -> Self {
        Self { keys, ..Self::user() }
    }
}

/// An answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The request is carried out, or fails for another reason.
    Passes,
    /// There is no token.
    NoUser,
    /// The token is unsound.
    InvalidToken,
    /// The user does not have the right.
    Denied,
}

impl Verdict {
    /// The code and the text of the refusal.
    pub(crate) fn refusal(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Passes => None,
            Self::NoUser => Some(("3", "etcdserver: user name is empty")),
            Self::InvalidToken => Some(("16", "etcdserver: invalid auth token")),
            Self::Denied => Some(("7", "etcdserver: permission denied")),
        }
    }
}

/// The answer to a caller.
pub(crate) fn verdict(caller: &Caller, needs: &Needs) -> Verdict {
    if !needs.looks {
        return Verdict::Passes;
    }
    let user = match caller.token {
        Token::Text(_) | Token::OfDeleted => return Verdict::InvalidToken,
        Token::Absent if needs.user || !needs.keys.is_empty() => return Verdict::NoUser,
        Token::Absent => return Verdict::Passes,
        Token::Of(user) => user,
    };
    let roles = roles_of(user);
    if roles.contains(&ROOT) {
        return Verdict::Passes;
    }
    let is_excepted = match needs.unless {
        None => false,
        Some(Exception::Is(name)) => name == user,
        Some(Exception::Has(role)) => roles.contains(&role),
    };
    let has_keys = needs.keys.iter().all(|need| covers(roles, *need));
    if (needs.root && !is_excepted) || !has_keys { Verdict::Denied } else { Verdict::Passes }
}

fn roles_of(user: &str) -> &'static [&'static str] {
    USERS.iter().find(|(name, _)| *name == user).expect("the user is in the table").1
}

/// The keys from the first on, before the second; all of them without the second.
type Interval = (Vec<u8>, Option<Vec<u8>>);

fn interval(key: &str, end: &str) -> Interval {
    let start = key.as_bytes().to_vec();
    let end = match end {
        // A single key. A range that has no key is treated as its first key, too.
        end if end != NUL && end <= key => Some([&start[..], &[0]].concat()),
        NUL => None,
        end => Some(end.as_bytes().to_vec()),
    };
    (start, end)
}

/// Whether the roles together permit the access.
///
/// Only the first key of the range, and the first key behind each permitted interval, can be one
/// that is not permitted while all before it are.
fn covers(roles: &[&str], (kind, key, end): Need) -> bool {
    let grants = ROLES.iter().filter(|(role, _)| roles.contains(role));
    let grants = grants.flat_map(|(_, grants)| *grants);
    let grants = grants.filter(|(granted, ..)| [kind, Readwrite].contains(granted));
    let granted: Vec<Interval> = grants.map(|(_, key, end)| interval(key, end)).collect();
    let wanted = interval(key, end);
    let has = |(start, end): &Interval, key: &Vec<u8>| {
        start <= key && end.as_ref().is_none_or(|end| key < end)
    };
    let ends = granted.iter().filter_map(|(_, end)| end.as_ref());
    let mut critical = ends.filter(|end| has(&wanted, end)).chain([&wanted.0]);
    critical.all(|key| granted.iter().any(|interval| has(interval, key)))
}

#[cfg(test)]
mod tests {
    use quorate_proto::authpb::permission::Type::{Read, Write};

    use super::covers;
    use crate::callers::NUL;

    #[test]
    fn permissions_are_joined() {
        let both = ["a-owner", "b-owner"];
        assert!(covers(&both, (Read, "a", "c")) && covers(&both, (Write, "a5", "b5")));
        assert!(!covers(&both, (Read, "a", "c1")) && !covers(&both, (Read, "a", NUL)));
        assert!(!covers(&["a-owner"], (Read, "a", "c")) && covers(&["a-owner"], (Read, "a9", "")));
        assert!(covers(&["from-m"], (Read, "n", NUL)) && !covers(&["from-m"], (Read, "a", NUL)));
        assert!(covers(&["owner"], (Read, NUL, NUL)) && !covers(&["reader"], (Write, "a", "")));
        assert!(covers(&["key"], (Read, "a5", "a5\0")) && !covers(&["key"], (Read, "a5", "a6")));
        assert!(covers(&["a-reader"], (Read, "a5", "a1")) && !covers(&[], (Read, "a5", "a1")));
    }
}
