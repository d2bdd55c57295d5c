//! Prepares a server: users, roles, keys, leases and tokens.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, header};
use prost::Message;
use quorate_proto::authpb::Permission;
use quorate_proto::etcdserverpb as pb;
use quorate_proto::v3electionpb::CampaignRequest;
use quorate_test_conformance::raw::{Answer, Connection, frame};

use crate::callers::{Caller, DELETED, Header, PASSWORD, ROLES, ROOT, Token, USERS};
use crate::management::{CANDIDATE_LEASE, ELECTION, LEADER_LEASE, LOCK_LEASE};
use crate::requests::{KEYS, LEASES, revocable};

/// The time to live of all leases, in seconds: longer than any test.
const LEASE_TTL: i64 = 100_000;

/// The users' tokens, by user.
#[derive(Clone, Debug)]
pub(crate) struct Tokens(BTreeMap<&'static str, String>);

impl Tokens {
    /// A call as the caller makes it.
    pub(crate) fn call(&self, caller: &Caller, path: &str) -> Request<()> {
        let mut request = Connection::request(path);
        let token = match caller.token {
            Token::Absent => return request,
            Token::Text(text) => text,
            Token::OfDeleted => &self.0[DELETED],
            Token::Of(user) => &self.0[user],
        };
        let value = |text: &str| HeaderValue::from_str(text).expect("tokens are plain text");
        let name = HeaderName::from_static("token");
        let headers = request.headers_mut();
        match caller.header {
            Header::Token => drop(headers.insert(name, value(token))),
            Header::Authorization => drop(headers.insert(header::AUTHORIZATION, value(token))),
            Header::Bearer => {
                let bearer = value(&format!("Bearer {token}"));
                drop(headers.insert(header::AUTHORIZATION, bearer));
            }
            Header::TokenFirst => {
                headers.insert(name, value(token));
                headers.insert(header::AUTHORIZATION, value(&self.0[ROOT]));
            }
        }
        request
    }

    /// Calls a method as root.
    pub(crate) async fn as_root(
        &self,
        connection: &Connection,
        path: &str,
        message: &impl Message,
    ) -> Answer {
        let root = Caller { token: Token::Of(ROOT), header: Header::Token };
        let answer = connection.call(self.call(&root, path), frame(&message.encode_to_vec())).await;
        answer.assert_ok();
        answer
    }
}

async fn ask(connection: &Connection, path: &str, message: &impl Message) -> Answer {
    let answer = connection.method(path, &[message.encode_to_vec().into()]).await;
    answer.assert_ok();
    answer
}

async fn add_users(connection: &Connection) {
    let own = str::to_owned;
    for (role, grants) in ROLES {
        let add = pb::AuthRoleAddRequest { name: own(role) };
        ask(connection, "/etcdserverpb.Auth/RoleAdd", &add).await;
        for (kind, key, range_end) in *grants {
            let [key, range_end] = [key, range_end].map(|text| Bytes::from(*text));
            let perm = Some(Permission { perm_type: *kind as i32, key, range_end });
            let grant = pb::AuthRoleGrantPermissionRequest { name: own(role), perm };
            ask(connection, "/etcdserverpb.Auth/RoleGrantPermission", &grant).await;
        }
    }
    for (user, roles) in USERS.iter().copied().chain([(DELETED, &["owner"][..])]) {
        let add = pb::AuthUserAddRequest {
            name: own(user),
            password: own(PASSWORD),
            ..Default::default()
        };
        ask(connection, "/etcdserverpb.Auth/UserAdd", &add).await;
        for role in roles {
            let grant = pb::AuthUserGrantRoleRequest { user: own(user), role: own(role) };
            ask(connection, "/etcdserverpb.Auth/UserGrantRole", &grant).await;
        }
    }
}

async fn put(connection: &Connection, key: &str, lease: i64) {
    let (key, value) = (Bytes::from(key.to_owned()), Bytes::from_static(b"value"));
    let put = pb::PutRequest { key, value, lease, ..Default::default() };
    ask(connection, "/etcdserverpb.KV/Put", &put).await;
}

async fn add_lease(connection: &Connection, id: i64, keys: &[&str]) {
    let grant = pb::LeaseGrantRequest { ttl: LEASE_TTL, id };
    ask(connection, "/etcdserverpb.Lease/LeaseGrant", &grant).await;
    for key in keys {
        put(connection, key, id).await;
    }
}

async fn add_data(connection: &Connection, callers: usize) {
    for key in KEYS {
        put(connection, key, 0).await;
    }
    for lease in LEASES {
        add_lease(connection, lease.id, lease.keys).await;
    }
    for (id, keys) in (0..callers).flat_map(revocable) {
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        add_lease(connection, id, &keys).await;
    }
    for id in [LEADER_LEASE, LOCK_LEASE, CANDIDATE_LEASE] {
        add_lease(connection, id, &[]).await;
    }
    let value = Bytes::from_static(b"value");
    let campaign = CampaignRequest { name: ELECTION.into(), lease: LEADER_LEASE, value };
    ask(connection, "/v3electionpb.Election/Campaign", &campaign).await;
}

async fn authenticate(connection: &Connection, user: &str) -> String {
    let (name, password) = (user.to_owned(), PASSWORD.to_owned());
    let request = pb::AuthenticateRequest { name, password };
    let answer = ask(connection, "/etcdserverpb.Auth/Authenticate", &request).await;
    answer.decode::<pb::AuthenticateResponse>().token
}

/// Prepares a new server for this many callers, and turns authentication on.
pub(crate) async fn prepare(connection: &Connection, callers: usize) -> Tokens {
    add_users(connection).await;
    add_data(connection, callers).await;
    ask(connection, "/etcdserverpb.Auth/AuthEnable", &pb::AuthEnableRequest {}).await;
    let mut tokens = Tokens(BTreeMap::new());
    for user in USERS.iter().map(|(user, _)| *user).chain([DELETED]) {
        tokens.0.insert(user, authenticate(connection, user).await);
    }
    let delete = pb::AuthUserDeleteRequest { name: DELETED.to_owned() };
    tokens.as_root(connection, "/etcdserverpb.Auth/UserDelete", &delete).await;
    tokens
}
