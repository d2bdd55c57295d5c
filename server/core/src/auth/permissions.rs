//! The keys that a user may read and write.

use bytes::{BufMut, Bytes, BytesMut};
use quorate_proto::authpb::Permission;
use quorate_proto::authpb::permission::Type;

use super::state::State;
use crate::key::{End, KeyRange};

/// A kind of access. Neither kind implies the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reading keys.
    Read,
    /// Writing or deleting keys.
    Write,
}

impl Access {
    fn is_granted_by(self, permission: &Permission) -> bool {
        match Type::try_from(permission.perm_type) {
            Ok(Type::Readwrite) => true,
            Ok(Type::Read) => self == Self::Read,
            Ok(Type::Write) => self == Self::Write,
            Err(_) => false,
        }
    }
}

impl State {
    /// The keys that the permissions of all roles of a user allow together, without the keys that
    /// the role `root` permits.
    pub(super) fn granted(&self, user: &str, access: Access) -> Granted {
        let roles = self.users.get(user).map_or(&[][..], |user| &user.roles);
        let roles = roles.iter().filter_map(|role| self.roles.get(role));
        let permissions = roles.flat_map(|role| &role.permissions);
        let permissions = permissions.filter(|permission| access.is_granted_by(permission));
        Granted::new(permissions.map(Interval::of).collect())
    }
}

/// The keys from `start` on, up to but without `end`; all keys from `start` on if `end` is `None`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Interval {
    start: Bytes,
    end: Option<Bytes>,
}

impl Interval {
    fn of(permission: &Permission) -> Self {
        let range = KeyRange::from_wire(permission.key.clone(), permission.range_end.clone());
        let end = match range.end {
            End::Single => Some(successor(&range.start)),
            End::Before(end) => Some(end),
            End::Unbounded => None,
        };
        Self { start: range.start, end }
    }

    fn reaches(&self, key: &[u8]) -> bool {
        self.end.as_ref().is_none_or(|end| end.as_ref() >= key)
    }
}

/// Keys that permissions allow: intervals that do not touch each other, ascending.
#[derive(Debug)]
pub(super) struct Granted(Vec<Interval>);

impl Granted {
    fn new(mut intervals: Vec<Interval>) -> Self {
        intervals.sort_unstable();
        let mut joined: Vec<Interval> = Vec::with_capacity(intervals.len());
        for next in intervals {
            match joined.last_mut().filter(|last| last.reaches(&next.start)) {
                None => joined.push(next),
                Some(last) => {
                    let reaches = next.end.as_ref().is_some_and(|end| last.reaches(end));
                    if !reaches {
                        last.end = next.end;
                    }
                }
            }
        }
        Self(joined)
    }

    /// Whether these keys include every key of `wanted`. If `wanted` has no keys, they must include
    /// its start.
    pub(super) fn cover(&self, wanted: &KeyRange) -> bool {
        let after = self.0.partition_point(|interval| interval.start <= wanted.start);
        let Some(interval) = after.checked_sub(1).map(|at| &self.0[at]) else { return false };
        let has_start = interval.end.as_ref().is_none_or(|end| *end > wanted.start);
        has_start
            && match &wanted.end {
                End::Single => true,
                End::Before(end) => interval.reaches(end),
                End::Unbounded => interval.end.is_none(),
            }
    }
}

/// The first key after `key`.
fn successor(key: &[u8]) -> Bytes {
    let mut next = BytesMut::with_capacity(key.len() + 1);
    next.put_slice(key);
    next.put_u8(0);
    next.freeze()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use quorate_proto::etcdserverpb as pb;

    use super::*;
    use crate::auth::{Auth, AuthCommand, ROOT};

    const USER: &str = "alice";

    fn apply(auth: &mut Auth, command: AuthCommand) {
        auth.apply(&command).unwrap();
    }

    /// A user with one role for each list of permissions.
    fn user_with(roles: &[Vec<Permission>]) -> Auth {
        let mut auth = Auth::default();
        let name = USER.to_owned();
        apply(
            &mut auth,
            AuthCommand::UserAdd(pb::AuthUserAddRequest { name, ..Default::default() }),
        );
        for (number, permissions) in roles.iter().enumerate() {
            let role = format!("role-{number}");
            let name = role.clone();
            apply(&mut auth, AuthCommand::RoleAdd(pb::AuthRoleAddRequest { name }));
            for permission in permissions {
                let grant = pb::AuthRoleGrantPermissionRequest {
                    name: role.clone(),
                    perm: Some(permission.clone()),
                };
                apply(&mut auth, AuthCommand::RoleGrantPermission(grant));
            }
            let user = USER.to_owned();
            let grant = pb::AuthUserGrantRoleRequest { user, role };
            apply(&mut auth, AuthCommand::UserGrantRole(grant));
        }
        auth
    }

    fn key() -> impl Strategy<Value = Bytes> {
        prop::collection::vec(0u8..3, 1..4).prop_map(Bytes::from)
    }

    fn range() -> impl Strategy<Value = (Bytes, Bytes)> {
        let end = prop_oneof![Just(Bytes::new()), Just(Bytes::from_static(b"\0")), key()];
        (key(), end)
    }

    fn permission() -> impl Strategy<Value = Permission> {
        let is_valid = |(start, end): &(Bytes, Bytes)| {
            !KeyRange::from_wire(start.clone(), end.clone()).is_empty()
        };
        let range = range().prop_filter("no role can have an empty range", is_valid);
        let permission = |((key, range_end), perm_type)| Permission { perm_type, key, range_end };
        (range, 0i32..4).prop_map(permission)
    }

    /// The keys that decide whether intervals cover `wanted`: its start, and the first key after
    /// each interval.
    fn deciding(granted: &[KeyRange], wanted: &KeyRange) -> Vec<Bytes> {
        let ends = granted.iter().filter_map(|range| match &range.end {
            End::Single => Some(successor(&range.start)),
            End::Before(end) => Some(end.clone()),
            End::Unbounded => None,
        });
        let ends = ends.filter(|end| wanted.contains(end));
        ends.chain([wanted.start.clone()]).collect()
    }

    proptest! {
        #[test]
        fn a_range_is_permitted_if_each_of_its_keys_is(
            roles in prop::collection::vec(prop::collection::vec(permission(), 0..5), 0..4),
            wanted in range(),
        ) {
            let auth = user_with(&roles);
            let wanted = KeyRange::from_wire(wanted.0, wanted.1);
            for access in [Access::Read, Access::Write] {
                let kinds = match access {
                    Access::Read => [Type::Read as i32, Type::Readwrite as i32],
                    Access::Write => [Type::Write as i32, Type::Readwrite as i32],
                };
                // The permissions come from the roles and not from the input, because a later grant
                // of the same range replaces the type of the earlier one.
                let granted = auth.roles().values().flat_map(|role| &role.permissions);
                let granted = granted.filter(|one| kinds.contains(&one.perm_type));
                let granted: Vec<KeyRange> = granted
                    .map(|one| KeyRange::from_wire(one.key.clone(), one.range_end.clone()))
                    .collect();
                let has = |key: &Bytes| granted.iter().any(|range| range.contains(key));
                let expected = deciding(&granted, &wanted).iter().all(has);
                prop_assert_eq!(auth.permits(USER, access, &wanted), expected);
                prop_assert!(!auth.permits("mallory", access, &wanted));
            }
        }
    }

    #[test]
    fn a_change_replaces_what_was_computed_before() {
        let whole =
            Permission { perm_type: Type::Read as i32, key: "a".into(), range_end: Bytes::new() };
        let mut auth = user_with(&[vec![whole]]);
        let key = KeyRange::single("a".into());
        let permits = |auth: &Auth| auth.permits(USER, Access::Read, &key);
        assert!(permits(&auth) && permits(&auth.clone()));
        let (name, role) = (USER.to_owned(), "role-0".to_owned());
        let revoke = pb::AuthUserRevokeRoleRequest { name, role };
        let before = auth.clone();
        apply(&mut auth, AuthCommand::UserRevokeRole(revoke));
        assert!(!permits(&auth) && permits(&before));
        apply(&mut auth, AuthCommand::UserDelete(pb::AuthUserDeleteRequest { name: USER.into() }));
        assert!(!permits(&auth));
    }

    #[test]
    fn the_role_root_permits_everything() {
        let mut auth = user_with(&[]);
        assert!(!auth.is_root(USER) && !auth.permits(USER, Access::Read, &KeyRange::all()));
        let (user, role) = (USER.to_owned(), ROOT.to_owned());
        let grant = pb::AuthUserGrantRoleRequest { user, role };
        apply(&mut auth, AuthCommand::UserGrantRole(grant));
        assert!(auth.is_root(USER) && auth.permits(USER, Access::Write, &KeyRange::all()));
        assert!(!auth.is_root("mallory"));
    }
}
