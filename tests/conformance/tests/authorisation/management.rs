//! Requests on members, maintenance, users, locks and elections, with what they need.

use bytes::Bytes;
use prost::Message;
use quorate_proto::authpb::permission::Type::{Read, Write};
use quorate_proto::etcdserverpb as pb;
use quorate_proto::etcdserverpb::alarm_request::AlarmAction;
use quorate_proto::{health, v3electionpb, v3lockpb};

use crate::callers::{PASSWORD, ROOT};
use crate::model::{Exception, Needs};
use crate::requests::{Request, Shape};

/// A member that does not exist.
const NO_MEMBER: u64 = 7;
/// The election that has a leader.
pub(crate) const ELECTION: &str = "a/election";
/// The lease of its leader.
pub(crate) const LEADER_LEASE: i64 = 7101;
/// The lease of the lock, which only the lock uses.
pub(crate) const LOCK_LEASE: i64 = 7102;
/// The lease of a candidate, which only its election uses.
pub(crate) const CANDIDATE_LEASE: i64 = 7103;

fn make(
    about: &str,
    path: &'static str,
    message: &impl Message,
    needs: Needs,
    after: &'static str,
) -> Request {
    Request::new(format!("{path} {about}"), path, message, needs).after(after)
}

fn members(peer_url: &str) -> Vec<Request> {
    let add = |method, message: &pb::MemberAddRequest| {
        make("cluster", method, message, Needs::root(), "9")
    };
    let id = NO_MEMBER;
    let peer_urls = || vec![peer_url.to_owned()];
    vec![
        add(
            "/etcdserverpb.Cluster/MemberAdd",
            &pb::MemberAddRequest { peer_urls: peer_urls(), is_learner: true },
        ),
        make(
            "cluster",
            "/etcdserverpb.Cluster/MemberRemove",
            &pb::MemberRemoveRequest { id },
            Needs::root(),
            "5",
        ),
        make(
            "cluster",
            "/etcdserverpb.Cluster/MemberUpdate",
            &pb::MemberUpdateRequest { id, peer_urls: vec!["http://127.0.0.1:9".to_owned()] },
            Needs::root(),
            "5",
        ),
        make(
            "cluster",
            "/etcdserverpb.Cluster/MemberPromote",
            &pb::MemberPromoteRequest { id },
            Needs::root(),
            "5",
        ),
        make(
            "linearizable",
            "/etcdserverpb.Cluster/MemberList",
            &pb::MemberListRequest { linearizable: true },
            Needs::user(),
            "0",
        ),
        make(
            "serializable",
            "/etcdserverpb.Cluster/MemberList",
            &pb::MemberListRequest { linearizable: false },
            Needs::user(),
            "0",
        ),
    ]
}

fn maintenance() -> Vec<Request> {
    let root = Needs::root;
    let alarm = |action: AlarmAction, needs| {
        let request = pb::AlarmRequest { action: action as i32, ..Default::default() };
        make(action.as_str_name(), "/etcdserverpb.Maintenance/Alarm", &request, needs, "0")
    };
    let simple =
        |method, needs, after| make("maintenance", method, &pb::StatusRequest {}, needs, after);
    vec![
        alarm(AlarmAction::Get, Needs::user()),
        alarm(AlarmAction::Activate, root()),
        alarm(AlarmAction::Deactivate, root()),
        simple("/etcdserverpb.Maintenance/Status", Needs::user(), "0"),
        simple("/etcdserverpb.Maintenance/Defragment", root(), "0"),
        simple("/etcdserverpb.Maintenance/Hash", root(), "0"),
        simple("/etcdserverpb.Maintenance/HashKV", root(), "0"),
        simple("/etcdserverpb.Maintenance/Snapshot", root(), "0"),
        make(
            "maintenance",
            "/etcdserverpb.Maintenance/MoveLeader",
            &pb::MoveLeaderRequest { target_id: NO_MEMBER },
            root(),
            "9",
        ),
        make(
            "maintenance",
            "/etcdserverpb.Maintenance/Downgrade",
            &pb::DowngradeRequest { action: 0, version: "x".to_owned() },
            root(),
            "3",
        ),
    ]
}

fn authentication() -> Vec<Request> {
    let own = |name: &str, password: &str| pb::AuthenticateRequest {
        name: name.to_owned(),
        password: password.to_owned(),
    };
    let path = "/etcdserverpb.Auth/Authenticate";
    vec![
        make(
            "auth",
            "/etcdserverpb.Auth/AuthEnable",
            &pb::AuthEnableRequest {},
            Needs::root(),
            "0",
        ),
        make(
            "auth",
            "/etcdserverpb.Auth/AuthDisable",
            &pb::AuthDisableRequest {},
            Needs::root(),
            "0",
        )
        .fatal(),
        make(
            "auth",
            "/etcdserverpb.Auth/AuthStatus",
            &pb::AuthStatusRequest {},
            Needs::no_unsound_token(),
            "0",
        ),
        make("right", path, &own("no-role", PASSWORD), Needs::nothing(), "0"),
        make("wrong", path, &own(ROOT, "another"), Needs::nothing(), "3"),
        make("unknown", path, &own("nobody", PASSWORD), Needs::nothing(), "3"),
    ]
}

fn users() -> Vec<Request> {
    let name = |name: &str| name.to_owned();
    let password = name(PASSWORD);
    let add = pb::AuthUserAddRequest {
        name: name(ROOT),
        password: password.clone(),
        ..Default::default()
    };
    let change =
        pb::AuthUserChangePasswordRequest { name: name("nobody"), password, ..Default::default() };
    let change_path = "/etcdserverpb.Auth/UserChangePassword";
    let grant = pb::AuthUserGrantRoleRequest { user: name("nobody"), role: name("owner") };
    let revoke = |user: &str, role: &str| pb::AuthUserRevokeRoleRequest {
        name: user.to_owned(),
        role: role.to_owned(),
    };
    let revoke_path = "/etcdserverpb.Auth/UserRevokeRole";
    let delete = |user: &str| pb::AuthUserDeleteRequest { name: user.to_owned() };
    let delete_path = "/etcdserverpb.Auth/UserDelete";
    let mut requests = vec![
        make("exists", "/etcdserverpb.Auth/UserAdd", &add, Needs::root(), "9"),
        make("unknown", change_path, &change, Needs::root(), "9"),
        make("unknown", "/etcdserverpb.Auth/UserGrantRole", &grant, Needs::root(), "9"),
        make("root", revoke_path, &revoke(ROOT, ROOT), Needs::root(), "3"),
        make("unknown", revoke_path, &revoke("owner", "key"), Needs::root(), "9"),
        make("root", delete_path, &delete(ROOT), Needs::root(), "3"),
        make("unknown", delete_path, &delete("nobody"), Needs::root(), "9"),
        make("all", "/etcdserverpb.Auth/UserList", &pb::AuthUserListRequest {}, Needs::root(), "0"),
    ];
    for (user, after) in [(ROOT, "0"), ("a-reader", "0"), ("no-role", "0"), ("nobody", "9")] {
        let get = pb::AuthUserGetRequest { name: user.to_owned() };
        let needs = Needs::root_unless(Exception::Is(user));
        requests.push(make(user, "/etcdserverpb.Auth/UserGet", &get, needs, after));
    }
    requests
}

fn roles() -> Vec<Request> {
    let name = |name: &str| name.to_owned();
    let add = pb::AuthRoleAddRequest { name: name("owner") };
    let delete = |role: &str| pb::AuthRoleDeleteRequest { role: role.to_owned() };
    let delete_path = "/etcdserverpb.Auth/RoleDelete";
    let grant = pb::AuthRoleGrantPermissionRequest { name: name("owner"), perm: None };
    let revoke = pb::AuthRoleRevokePermissionRequest {
        role: name("owner"),
        key: Bytes::from_static(b"a"),
        range_end: Bytes::new(),
    };
    let revoke_path = "/etcdserverpb.Auth/RoleRevokePermission";
    let mut requests = vec![
        make("exists", "/etcdserverpb.Auth/RoleAdd", &add, Needs::root(), "9"),
        make("root", delete_path, &delete(ROOT), Needs::root(), "3"),
        make("unknown", delete_path, &delete("none"), Needs::root(), "9"),
        make("nothing", "/etcdserverpb.Auth/RoleGrantPermission", &grant, Needs::root(), "3"),
        make("nothing", revoke_path, &revoke, Needs::root(), "9"),
        make("all", "/etcdserverpb.Auth/RoleList", &pb::AuthRoleListRequest {}, Needs::root(), "0"),
    ];
    for (role, after) in [("owner", "0"), ("a-reader", "0"), ("empty", "0"), ("none", "9")] {
        let get = pb::AuthRoleGetRequest { role: role.to_owned() };
        let needs = Needs::root_unless(Exception::Has(role));
        requests.push(make(role, "/etcdserverpb.Auth/RoleGet", &get, needs, after));
    }
    requests
}

/// The leader key of an election that the caller does not lead.
fn not_leading() -> Option<v3electionpb::LeaderKey> {
    let name = Bytes::from_static(b"a/other");
    let key = Bytes::from_static(b"a/other/1");
    Some(v3electionpb::LeaderKey { name, key, rev: 3, lease: CANDIDATE_LEASE })
}

fn claims() -> Vec<Request> {
    let own = |key, prefix: &'static str, end| {
        Needs::keys(vec![(Read, prefix, end), (Read, key, ""), (Write, key, "")])
    };
    let lock = v3lockpb::LockRequest { name: "a/lock".into(), lease: LOCK_LEASE };
    let unlock = v3lockpb::UnlockRequest { key: "a/void".into() };
    let campaign = v3electionpb::CampaignRequest {
        name: "a/campaign".into(),
        lease: CANDIDATE_LEASE,
        value: Bytes::from_static(b"value"),
    };
    let leader = v3electionpb::LeaderRequest { name: ELECTION.into() };
    let proclaim = v3electionpb::ProclaimRequest {
        leader: not_leading(),
        value: Bytes::from_static(b"value"),
    };
    let resign = v3electionpb::ResignRequest { leader: not_leading() };
    let lock_needs = own("a/lock/1", "a/lock/", "a/lock0");
    let campaign_needs = own("a/campaign/1", "a/campaign/", "a/campaign0");
    let leader_needs = || Needs::keys(vec![(Read, "a/election/", "a/election0")]);
    let key_needs = || Needs::keys(vec![(Read, "a/other/1", ""), (Write, "a/other/1", "")]);
    let unlock_needs = Needs::keys(vec![(Write, "a/void", "")]);
    vec![
        make("lock", "/v3lockpb.Lock/Lock", &lock, lock_needs, "0"),
        make("lock", "/v3lockpb.Lock/Unlock", &unlock, unlock_needs, "0"),
        make("election", "/v3electionpb.Election/Campaign", &campaign, campaign_needs, "0"),
        make("election", "/v3electionpb.Election/Proclaim", &proclaim, key_needs(), "2"),
        make("election", "/v3electionpb.Election/Leader", &leader, leader_needs(), "0"),
        make("election", "/v3electionpb.Election/Observe", &leader, leader_needs(), "0")
            .shaped(Shape::First),
        make("election", "/v3electionpb.Election/Resign", &resign, key_needs(), "0"),
    ]
}

fn health() -> Vec<Request> {
    let check = health::HealthCheckRequest::default();
    let make = |method| make("health", method, &check, Needs::nothing(), "0");
    vec![
        make("/grpc.health.v1.Health/Check"),
        make("/grpc.health.v1.Health/List"),
        make("/grpc.health.v1.Health/Watch").shaped(Shape::First),
    ]
}

/// All of them. `peer_url` is that of a member.
pub(crate) fn all(peer_url: &str) -> Vec<Request> {
    let about_users = [authentication(), users(), roles()].concat();
    [members(peer_url), maintenance(), about_users, claims(), health()].concat()
}
