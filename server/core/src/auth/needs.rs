//! The rights that a request needs, and whether a user has them. Only this file decides that, with
//! one exception: the API lets users read their own roles. A member uses this file for the requests
//! that it answers itself and for its proposals. The state machine uses this file again for the
//! commands that it applies.

use bytes::Bytes;
use quorate_proto::etcdserverpb as pb;
use quorate_proto::etcdserverpb::alarm_request::AlarmAction;
use quorate_proto::etcdserverpb::request_op::Request;
use smallvec::{SmallVec, smallvec};

use super::rights::Rights;
use super::{Access, Auth, Origin};
use crate::key::KeyRange;
use crate::{Command, Error, Fault, Refusal};

/// A right on keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Right {
    /// Access to all keys of a range.
    Range(Access, KeyRange),
    /// Access to all keys that are attached to a lease.
    Lease(Access, i64),
}

impl Right {
    fn of_range(access: Access, key: &Bytes, range_end: &Bytes) -> Self {
        Self::Range(access, KeyRange::from_wire(key.clone(), range_end.clone()))
    }
}

/// The demands of a request on its author.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Nothing: every author may make the request.
    Nothing,
    /// The author must be known. As in etcd, the user need not exist: it is enough that a
    /// certificate has its name.
    Known,
    /// The user must have all of these rights.
    Rights(SmallVec<[Right; 2]>),
    /// The user must have the role `root`.
    Root,
    /// The author must be the cluster itself.
    Cluster,
}

impl Needs {
    /// The demands of a command.
    pub fn of(command: &Command) -> Self {
        match command {
            Command::Put(put) => Self::collect(|rights| add_put(rights, put)),
            Command::DeleteRange(delete) => Self::collect(|rights| add_delete(rights, delete)),
            Command::Txn(txn) => Self::of_txn(txn),
            Command::LeaseGrant(_) => Self::Known,
            Command::LeaseRevoke(revoke) => {
                Self::Rights(smallvec![Right::Lease(Access::Write, revoke.id)])
            }
            Command::Alarm(alarm) if alarm.action == AlarmAction::Get as i32 => Self::Known,
            // The password is proved before the proposal.
            Command::Authenticate(_) => Self::Nothing,
            // Unlike here, etcd checks the role for a compaction only before the proposal, and not
            // again when it applies the command.
            Command::Compact(_) | Command::Alarm(_) | Command::Auth(_) => Self::Root,
            Command::LeaseExpire(_) | Command::MemberPublish(_) => Self::Cluster,
        }
    }

    /// These rights.
    pub fn rights(rights: impl IntoIterator<Item = Right>) -> Self {
        Self::Rights(rights.into_iter().collect())
    }

    /// The demands of a read of a range.
    pub fn of_range(range: &pb::RangeRequest) -> Self {
        Self::Rights(smallvec![Right::of_range(Access::Read, &range.key, &range.range_end)])
    }

    /// The demands of a watch of a range.
    pub fn of_watch(range: KeyRange) -> Self {
        Self::Rights(smallvec![Right::Range(Access::Read, range)])
    }

    /// The demands of a transaction: the rights for its comparisons and for the operations of both
    /// branches, although only one branch will be executed.
    pub fn of_txn(txn: &pb::TxnRequest) -> Self {
        Self::collect(|rights| add_txn(rights, txn))
    }

    fn collect(add: impl FnOnce(&mut SmallVec<[Right; 2]>)) -> Self {
        let mut rights = SmallVec::new();
        add(&mut rights);
        Self::Rights(rights)
    }
}

fn add_put(rights: &mut SmallVec<[Right; 2]>, put: &pb::PutRequest) {
    let right = |access| Right::of_range(access, &put.key, &Bytes::new());
    rights.push(right(Access::Write));
    let lease = Right::Lease(Access::Write, put.lease);
    // Without this right, a user could attach a key to a lease that the user may not revoke.
    if put.lease != 0 && !rights.contains(&lease) {
        rights.push(lease);
    }
    if put.prev_kv {
        rights.push(right(Access::Read));
    }
}

fn add_delete(rights: &mut SmallVec<[Right; 2]>, delete: &pb::DeleteRangeRequest) {
    let right = |access| Right::of_range(access, &delete.key, &delete.range_end);
    rights.push(right(Access::Write));
    if delete.prev_kv {
        rights.push(right(Access::Read));
    }
}

fn add_txn(rights: &mut SmallVec<[Right; 2]>, txn: &pb::TxnRequest) {
    for compare in &txn.compare {
        rights.push(Right::of_range(Access::Read, &compare.key, &compare.range_end));
    }
    for op in txn.success.iter().chain(&txn.failure) {
        match &op.request {
            Some(Request::RequestRange(range)) => {
                rights.push(Right::of_range(Access::Read, &range.key, &range.range_end));
            }
            Some(Request::RequestPut(put)) => add_put(rights, put),
            Some(Request::RequestDeleteRange(delete)) => add_delete(rights, delete),
            Some(Request::RequestTxn(nested)) => add_txn(rights, nested),
            None => {}
        }
    }
}

impl Auth {
    /// Checks that the author of a request may make it. While authentication is off, every author
    /// may. `keys` finds the keys that are attached to a lease, by its id.
    ///
    /// # Errors
    /// The refusal, or the fault of `keys`.
    pub fn check(
        &self,
        origin: &Origin,
        needs: &Needs,
        keys: impl FnMut(i64) -> Result<Vec<Bytes>, Fault>,
    ) -> Result<(), Error> {
        if !self.is_enabled() || *needs == Needs::Nothing {
            return Ok(());
        }
        let (name, revision) = match origin {
            Origin::Cluster => return Ok(()),
            Origin::Unknown if *needs == Needs::Cluster => return Ok(()),
            Origin::Unknown => return Err(Refusal::UserEmpty.into()),
            Origin::User { name, revision } => (name, *revision),
        };
        match needs {
            Needs::Nothing | Needs::Known => Ok(()),
            Needs::Root if name.is_empty() => Err(Refusal::UserEmpty.into()),
            Needs::Root => Ok(self.check_root(name)?),
            Needs::Cluster => Err(Refusal::PermissionDenied.into()),
            // As in etcd, a signed token with the revision 0 counts as none.
            Needs::Rights(_) if revision == 0 => Err(Refusal::UserEmpty.into()),
            Needs::Rights(_) if revision != self.revision() => Err(Refusal::AuthOldRevision.into()),
            Needs::Rights(rights) => self.check_rights(name, rights, keys),
        }
    }

    /// Checks that a user has the role `root`.
    ///
    /// # Errors
    /// The user does not exist, or does not have the role.
    pub fn check_root(&self, user: &str) -> Result<(), Refusal> {
        if !self.users().contains_key(user) {
            return Err(Refusal::UserNotFound);
        }
        if self.is_root(user) { Ok(()) } else { Err(Refusal::PermissionDenied) }
    }

    fn check_rights(
        &self,
        user: &str,
        rights: &[Right],
        mut keys: impl FnMut(i64) -> Result<Vec<Bytes>, Fault>,
    ) -> Result<(), Error> {
        let Some(held) = self.rights_of(user) else {
            return Err(Refusal::PermissionDenied.into());
        };
        if matches!(*held, Rights::All) {
            return Ok(());
        }
        for right in rights {
            let is_permitted = match right {
                Right::Range(access, range) => held.permit(*access, range),
                Right::Lease(access, lease) => {
                    let mut attached = keys(*lease)?.into_iter().map(KeyRange::single);
                    attached.all(|key| held.permit(*access, &key))
                }
            };
            if !is_permitted {
                return Err(Refusal::PermissionDenied.into());
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use quorate_proto::authpb::Permission;
    use quorate_proto::authpb::permission::Type;

    use super::*;
    use crate::auth::{AuthCommand, Authenticate, ROOT};
    use crate::command::{LeaseExpire, MemberPublish};
    use crate::key::End;

    fn text(right: &Right) -> String {
        let name = |access: &Access| if *access == Access::Read { "read" } else { "write" };
        match right {
            Right::Lease(access, lease) => format!("{} lease {lease}", name(access)),
            Right::Range(access, range) => {
                let start = String::from_utf8_lossy(&range.start);
                let end = match &range.end {
                    End::Single => String::new(),
                    End::Before(end) => format!("-{}", String::from_utf8_lossy(end)),
                    End::Unbounded => "-".to_owned(),
                };
                format!("{} {start}{end}", name(access))
            }
        }
    }

    fn rights(command: &Command) -> Vec<String> {
        match Needs::of(command) {
            Needs::Rights(rights) => rights.iter().map(text).collect(),
            other => panic!("{other:?}"),
        }
    }

    fn put(key: &'static str, lease: i64, prev_kv: bool) -> pb::PutRequest {
        pb::PutRequest { key: key.into(), lease, prev_kv, ..Default::default() }
    }

    fn delete(key: &'static str, end: &'static str, prev_kv: bool) -> pb::DeleteRangeRequest {
        pb::DeleteRangeRequest { key: key.into(), range_end: end.into(), prev_kv }
    }

    fn range(key: &'static str, end: &'static str) -> pb::RangeRequest {
        pb::RangeRequest { key: key.into(), range_end: end.into(), ..Default::default() }
    }

    fn ops(requests: Vec<Request>) -> Vec<pb::RequestOp> {
        requests.into_iter().map(|request| pb::RequestOp { request: Some(request) }).collect()
    }

    #[test]
    fn writes_need_access_to_their_keys_and_leases() {
        let cases = [
            (Command::Put(put("a", 0, false)), &["write a"][..]),
            (Command::Put(put("a", 7, true)), &["write a", "write lease 7", "read a"]),
            (Command::DeleteRange(delete("a", "", false)), &["write a"]),
            (Command::DeleteRange(delete("a", "c", true)), &["write a-c", "read a-c"]),
            (Command::DeleteRange(delete("a", "\0", false)), &["write a-"]),
            (Command::LeaseRevoke(pb::LeaseRevokeRequest { id: 7 }), &["write lease 7"]),
            (Command::Txn(pb::TxnRequest::default()), &[]),
        ];
        for (command, expected) in cases {
            assert_eq!(rights(&command), expected, "{command:?}");
        }
    }

    #[test]
    fn a_transaction_needs_the_rights_of_both_branches_at_any_depth() {
        let compare = |key: &'static str, end: &'static str| pb::Compare {
            key: key.into(),
            range_end: end.into(),
            ..Default::default()
        };
        let nested = pb::TxnRequest {
            compare: vec![compare("n", "")],
            success: ops(vec![Request::RequestPut(put("p", 7, false))]),
            failure: ops(vec![Request::RequestDeleteRange(delete("d", "e", true))]),
        };
        let deeper = pb::TxnRequest {
            failure: ops(vec![Request::RequestTxn(nested)]),
            ..Default::default()
        };
        let txn = pb::TxnRequest {
            compare: vec![compare("a", "b"), compare("c", "\0")],
            success: ops(vec![
                Request::RequestRange(range("r", "s")),
                Request::RequestTxn(deeper),
                Request::RequestPut(put("q", 7, true)),
            ]),
            failure: vec![pb::RequestOp { request: None }],
        };
        let expected = [
            "read a-b",
            "read c-",
            "read r-s",
            "read n",
            "write p",
            "write lease 7",
            "write d-e",
            "read d-e",
            "write q",
            "read q",
        ];
        assert_eq!(rights(&Command::Txn(txn)), expected);
    }

    #[test]
    fn other_commands_need_a_known_client_the_role_root_or_the_cluster() {
        let alarm = |action| Command::Alarm(pb::AlarmRequest { action, ..Default::default() });
        let enable = AuthCommand::Enable(pb::AuthEnableRequest {});
        let add = AuthCommand::UserAdd(pb::AuthUserAddRequest::default());
        let cases = [
            (Command::LeaseGrant(pb::LeaseGrantRequest::default()), Needs::Known),
            (alarm(AlarmAction::Get as i32), Needs::Known),
            (alarm(AlarmAction::Activate as i32), Needs::Root),
            (alarm(AlarmAction::Deactivate as i32), Needs::Root),
            (alarm(99), Needs::Root),
            (Command::Compact(pb::CompactionRequest::default()), Needs::Root),
            (Command::Auth(enable), Needs::Root),
            (Command::Auth(add), Needs::Root),
            (Command::Authenticate(Authenticate::default()), Needs::Nothing),
            (Command::LeaseExpire(LeaseExpire::default()), Needs::Cluster),
            (Command::MemberPublish(MemberPublish::default()), Needs::Cluster),
        ];
        for (command, needs) in cases {
            assert_eq!(Needs::of(&command), needs, "{command:?}");
        }
    }

    fn apply(auth: &mut Auth, command: AuthCommand) {
        auth.apply(&command).unwrap();
    }

    fn add_user(auth: &mut Auth, name: &str, role: &str) {
        let options = Some(quorate_proto::authpb::UserAddOptions { no_password: true });
        let add = pb::AuthUserAddRequest { name: name.to_owned(), options, ..Default::default() };
        apply(auth, AuthCommand::UserAdd(add));
        let grant = pb::AuthUserGrantRoleRequest { user: name.to_owned(), role: role.to_owned() };
        apply(auth, AuthCommand::UserGrantRole(grant));
    }

    /// The user `root`, and the user `alice`, who may read `a` to `c` and write `b` to `d`.
    fn enabled() -> Auth {
        let mut auth = Auth::default();
        add_user(&mut auth, ROOT, ROOT);
        let name = "role".to_owned();
        apply(&mut auth, AuthCommand::RoleAdd(pb::AuthRoleAddRequest { name: name.clone() }));
        for (kind, key, range_end) in [(Type::Read, "a", "c"), (Type::Write, "b", "d")] {
            let perm_type = kind as i32;
            let perm = Permission { perm_type, key: key.into(), range_end: range_end.into() };
            let grant = pb::AuthRoleGrantPermissionRequest { name: name.clone(), perm: Some(perm) };
            apply(&mut auth, AuthCommand::RoleGrantPermission(grant));
        }
        add_user(&mut auth, "alice", &name);
        apply(&mut auth, AuthCommand::Enable(pb::AuthEnableRequest {}));
        auth
    }

    fn user(name: &str, revision: u64) -> Origin {
        Origin::User { name: name.into(), revision }
    }

    /// Checks a command; the keys of lease 7 are `b` and `c`, and those of lease 8 `a` and `b`.
    fn check(auth: &Auth, origin: &Origin, command: &Command) -> Option<Refusal> {
        let keys = |lease| {
            let keys = if lease == 7 { ["b", "c"] } else { ["a", "b"] };
            Ok(keys.map(Bytes::from).to_vec())
        };
        match auth.check(origin, &Needs::of(command), keys) {
            Ok(()) => None,
            Err(Error::Refusal(refusal)) => Some(refusal),
            Err(Error::Fault(fault)) => panic!("{fault}"),
        }
    }

    #[test]
    fn a_user_may_do_what_all_rights_allow() {
        let auth = enabled();
        let alice = user("alice", auth.revision());
        let denied = Some(Refusal::PermissionDenied);
        let txn = |success| Command::Txn(pb::TxnRequest { success, ..Default::default() });
        let cases = [
            (Command::Put(put("b", 0, true)), None),
            (Command::Put(put("c", 0, false)), None),
            (Command::Put(put("c", 0, true)), denied),
            (Command::Put(put("a", 0, false)), denied),
            (Command::Put(put("b", 7, false)), None),
            (Command::Put(put("b", 8, false)), denied),
            (Command::LeaseRevoke(pb::LeaseRevokeRequest { id: 7 }), None),
            (Command::LeaseRevoke(pb::LeaseRevokeRequest { id: 8 }), denied),
            (Command::DeleteRange(delete("b", "d", false)), None),
            (Command::DeleteRange(delete("b", "d", true)), denied),
            (Command::DeleteRange(delete("b", "d\0", false)), denied),
            (Command::DeleteRange(delete("b", "\0", false)), denied),
            (txn(ops(vec![Request::RequestRange(range("a", "c"))])), None),
            (txn(ops(vec![Request::RequestRange(range("a", "\0"))])), denied),
            (Command::LeaseGrant(pb::LeaseGrantRequest::default()), None),
            (Command::Compact(pb::CompactionRequest::default()), denied),
            (Command::MemberPublish(MemberPublish::default()), denied),
        ];
        for (command, expected) in cases {
            assert_eq!(check(&auth, &alice, &command), expected, "{command:?}");
            let root = check(&auth, &user(ROOT, auth.revision()), &command);
            let is_internal = matches!(command, Command::MemberPublish(_));
            assert_eq!(root, denied.filter(|_| is_internal), "{command:?}");
            assert_eq!(check(&auth, &Origin::Cluster, &command), None, "{command:?}");
            let unknown = Some(Refusal::UserEmpty).filter(|_| !is_internal);
            assert_eq!(check(&auth, &Origin::Unknown, &command), unknown, "{command:?}");
            let nameless = match Needs::of(&command) {
                Needs::Known => None,
                Needs::Root => Some(Refusal::UserEmpty),
                _ => denied,
            };
            let refused = check(&auth, &user("", auth.revision()), &command);
            assert_eq!(refused, nameless, "{command:?}");
            assert_eq!(check(&Auth::default(), &alice, &command), None, "{command:?}");
        }
    }

    #[test]
    fn rights_that_were_checked_before_a_change_are_refused() {
        let auth = enabled();
        let write = Command::Put(put("b", 0, false));
        let (current, old) = (auth.revision(), Refusal::AuthOldRevision);
        for (name, revision, refusal) in [
            ("alice", 0, Refusal::UserEmpty),
            ("alice", current - 1, old),
            ("alice", current + 1, old),
            (ROOT, 1, old),
        ] {
            let refused = check(&auth, &user(name, revision), &write);
            assert_eq!(refused, Some(refusal), "{name} {revision}");
        }
        let stranger = user("mallory", auth.revision());
        assert_eq!(check(&auth, &stranger, &write), Some(Refusal::PermissionDenied));
        let enable = Command::Auth(AuthCommand::Enable(pb::AuthEnableRequest {}));
        assert_eq!(check(&auth, &stranger, &enable), Some(Refusal::UserNotFound));
        // As in etcd, changes of users do not depend on the revision.
        assert_eq!(check(&auth, &user(ROOT, 0), &enable), None);
    }
}
