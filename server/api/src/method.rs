//! The table of all methods. The build script makes the server stubs from it. The service takes its
//! routes and checks from the table, and the metrics take their labels from it.

use LearnerRule::{Answers, Refuses};
use MethodKind::{BidiStream, ServerStream, Unary};
use Permission::{Keys, Nothing, Root, User};
use Route::{Auth, Cluster, Election, Health, Kv, Lease, Lock, Maintenance, Watch};

/// The gRPC service that a call goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    Kv,
    Watch,
    Lease,
    Cluster,
    Maintenance,
    Auth,
    Election,
    Lock,
    Health,
}

impl Route {
    pub(crate) const ALL: [Self; 9] =
        [Kv, Watch, Lease, Cluster, Maintenance, Auth, Election, Lock, Health];

    /// The name of the service, with its package.
    pub(crate) fn service(self) -> &'static str {
        match self {
            Kv => "etcdserverpb.KV",
            Watch => "etcdserverpb.Watch",
            Lease => "etcdserverpb.Lease",
            Cluster => "etcdserverpb.Cluster",
            Maintenance => "etcdserverpb.Maintenance",
            Auth => "etcdserverpb.Auth",
            Election => "v3electionpb.Election",
            Lock => "v3lockpb.Lock",
            Health => "grpc.health.v1.Health",
        }
    }
}

/// The sides of a method that are streams of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MethodKind {
    /// One message each way.
    Unary,
    /// One request, many answers.
    ServerStream,
    /// Many messages each way.
    BidiStream,
}

impl MethodKind {
    /// The name of the kind in metrics.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Unary => "unary",
            ServerStream => "server_stream",
            BidiStream => "bidi_stream",
        }
    }
}

/// How a learner treats calls of a method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LearnerRule {
    /// It answers them, or at least those that need no leader.
    Answers,
    /// It refuses them.
    Refuses,
}

/// The minimum right that a call needs while authentication is on, as in etcd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Permission {
    /// No right: the caller may be unknown.
    Nothing,
    /// The caller must be a user. The operation may need more, depending on the request: raising
    /// and disarming alarms, and reading other users and roles, needs the role `root`.
    User,
    /// The caller must have rights on the keys of the request, or on those attached to its leases.
    /// The operation checks them.
    Keys,
    /// The caller must have the role `root`.
    Root,
}

/// A method.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Method {
    pub(crate) route: Route,
    /// The name without the service.
    pub(crate) name: &'static str,
    pub(crate) kind: MethodKind,
    pub(crate) learners: LearnerRule,
    pub(crate) permission: Permission,
}

impl Method {
    /// The path of the method's calls.
    pub(crate) fn path(&self) -> String {
        format!("/{}/{}", self.route.service(), self.name)
    }
}

const fn method(
    route: Route,
    name: &'static str,
    kind: MethodKind,
    learners: LearnerRule,
    permission: Permission,
) -> Method {
    Method { route, name, kind, learners, permission }
}

/// All methods.
pub(crate) const METHODS: [Method; 52] = [
    method(Kv, "Range", Unary, Answers, Keys),
    method(Kv, "RangeStream", ServerStream, Refuses, Keys),
    method(Kv, "Put", Unary, Refuses, Keys),
    method(Kv, "DeleteRange", Unary, Refuses, Keys),
    method(Kv, "Txn", Unary, Refuses, Keys),
    method(Kv, "Compact", Unary, Refuses, Root),
    method(Watch, "Watch", BidiStream, Refuses, Keys),
    method(Lease, "LeaseGrant", Unary, Refuses, User),
    method(Lease, "LeaseRevoke", Unary, Refuses, Keys),
    method(Lease, "LeaseKeepAlive", BidiStream, Refuses, Keys),
    method(Lease, "LeaseTimeToLive", Unary, Refuses, Keys),
    method(Lease, "LeaseLeases", Unary, Refuses, Keys),
    method(Cluster, "MemberAdd", Unary, Refuses, Root),
    method(Cluster, "MemberRemove", Unary, Refuses, Root),
    method(Cluster, "MemberUpdate", Unary, Refuses, Root),
    method(Cluster, "MemberList", Unary, Refuses, User),
    method(Cluster, "MemberPromote", Unary, Refuses, Root),
    method(Maintenance, "Alarm", Unary, Refuses, User),
    method(Maintenance, "Status", Unary, Answers, User),
    method(Maintenance, "Defragment", Unary, Refuses, Root),
    method(Maintenance, "Hash", Unary, Refuses, Root),
    method(Maintenance, "HashKV", Unary, Refuses, Root),
    method(Maintenance, "Snapshot", ServerStream, Answers, Root),
    method(Maintenance, "MoveLeader", Unary, Refuses, Root),
    method(Maintenance, "Downgrade", Unary, Refuses, Root),
    method(Auth, "AuthEnable", Unary, Refuses, Root),
    method(Auth, "AuthDisable", Unary, Refuses, Root),
    method(Auth, "AuthStatus", Unary, Refuses, Nothing),
    method(Auth, "Authenticate", Unary, Refuses, Nothing),
    method(Auth, "UserAdd", Unary, Refuses, Root),
    method(Auth, "UserGet", Unary, Refuses, User),
    method(Auth, "UserList", Unary, Refuses, Root),
    method(Auth, "UserDelete", Unary, Refuses, Root),
    method(Auth, "UserChangePassword", Unary, Refuses, Root),
    method(Auth, "UserGrantRole", Unary, Refuses, Root),
    method(Auth, "UserRevokeRole", Unary, Refuses, Root),
    method(Auth, "RoleAdd", Unary, Refuses, Root),
    method(Auth, "RoleGet", Unary, Refuses, User),
    method(Auth, "RoleList", Unary, Refuses, Root),
    method(Auth, "RoleDelete", Unary, Refuses, Root),
    method(Auth, "RoleGrantPermission", Unary, Refuses, Root),
    method(Auth, "RoleRevokePermission", Unary, Refuses, Root),
    method(Election, "Campaign", Unary, Refuses, Keys),
    method(Election, "Proclaim", Unary, Refuses, Keys),
    method(Election, "Leader", Unary, Refuses, Keys),
    method(Election, "Observe", ServerStream, Refuses, Keys),
    method(Election, "Resign", Unary, Refuses, Keys),
    method(Lock, "Lock", Unary, Refuses, Keys),
    method(Lock, "Unlock", Unary, Refuses, Keys),
    method(Health, "Check", Unary, Refuses, Nothing),
    method(Health, "List", Unary, Refuses, Nothing),
    method(Health, "Watch", ServerStream, Refuses, Nothing),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use prost::Message as _;
    use prost_types::FileDescriptorSet;
    use quorate_proto::FILE_DESCRIPTOR_SET;

    use super::*;

    #[test]
    fn the_table_has_the_methods_of_the_definitions() {
        let mut defined = BTreeSet::new();
        for file in FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap().file {
            for service in &file.service {
                let name = format!("{}.{}", file.package(), service.name());
                defined.extend(service.method.iter().map(|method| {
                    let kind = match (method.client_streaming(), method.server_streaming()) {
                        (false, false) => Unary,
                        (false, true) => ServerStream,
                        (true, true) => BidiStream,
                        (true, false) => panic!("{name}: no answer is streamed"),
                    };
                    (format!("/{name}/{}", method.name()), kind.name())
                }));
            }
        }
        let listed: Vec<_> =
            METHODS.iter().map(|method| (method.path(), method.kind.name())).collect();
        assert_eq!(listed.len(), METHODS.len());
        assert_eq!(listed.into_iter().collect::<BTreeSet<_>>(), defined);
    }
}
