//! The effect of the claims of a token with a valid signature.

use quorate_proto::etcdserverpb as pb;
use quorate_test_conformance::server_pair::ServerPair;
use quorate_test_support::program;
use quorate_test_support::server::Server;

use crate::keys::{Keys, SECRET, signed};
use crate::{CHEAP, Verdict, ask, enable, old, put, range, with_token};

const HEADER: &str = r#"{"alg":"HS256","typ":"JWT"}"#;

/// Headers and claims, at this revision of users and roles.
fn forged(revision: u64) -> Vec<(&'static str, String)> {
    let root = |rest: &str| format!(r#"{{"username":"root","revision":{revision}{rest}}}"#);
    let of = |user: &str, at: &str| format!(r#"{{"username":{user},"revision":{at}}}"#);
    let now = revision.to_string();
    let mut forged = vec![
        (r#"{"alg":"HS256"}"#, root("")),
        (r#"{"alg":"HS384"}"#, root("")),
        (r#"{"alg":"hs256"}"#, root("")),
        (r#"{"alg":"none"}"#, root("")),
        (r#"{"typ":"JWT"}"#, root("")),
        ("", root("")),
        (HEADER, of(r#""root""#, &(revision - 1).to_string())),
        (HEADER, of(r#""root""#, "0")),
        (HEADER, of(r#""root""#, &format!("{revision}.9"))),
        (HEADER, of(r#""root""#, &format!("\"{revision}\""))),
        (HEADER, of(r#""root""#, "null")),
        (HEADER, of(r#""nobody""#, &now)),
        (HEADER, of(r#""""#, &now)),
        (HEADER, of("7", &now)),
        (HEADER, r#"{"username":"root"}"#.to_owned()),
        (HEADER, "[]".to_owned()),
        (HEADER, root("").replace('}', "")),
    ];
    for rest in [
        "",
        r#","exp":1"#,
        r#","exp":0"#,
        r#","exp":0.5"#,
        r#","exp":1e300"#,
        r#","exp":1e400"#,
        r#","exp":null"#,
        r#","exp":"9999999999""#,
        r#","exp":9999999999.5"#,
        r#","nbf":9999999999"#,
        r#","nbf":1"#,
        r#","iat":9999999999"#,
        r#","aud":"others","iss":"others","sub":"others""#,
        r#","username":"nobody""#,
    ] {
        forged.push((HEADER, root(rest)));
    }
    forged
}

/// The answers to requests that need different rights.
fn answers(server: &Server, token: &str) -> [Verdict; 6] {
    let future = pb::CompactionRequest { revision: 1 << 40, physical: false };
    [
        range(server, token),
        put(server, token),
        with_token(server, "/etcdserverpb.KV/Compact", token, &future),
        with_token(server, "/etcdserverpb.Auth/RoleList", token, &pb::AuthRoleListRequest {}),
        with_token(server, "/etcdserverpb.Cluster/MemberList", token, &pb::StatusRequest {}),
        with_token(server, "/etcdserverpb.Maintenance/Hash", token, &pb::HashRequest {}),
    ]
}

fn revision(server: &Server) -> u64 {
    let status = ask(server, "AuthStatus", &pb::AuthStatusRequest {});
    status.decode::<pb::AuthStatusResponse>().auth_revision
}

#[test]
fn claims_decide_as_at_etcd() {
    let keys = Keys::new();
    let flags = [&keys.signing("HS256", "HS"), CHEAP];
    let Some(mut pair) = ServerPair::start("claims of etcd", &flags) else { return };
    for (_, server) in pair.both() {
        enable(server);
    }
    let revisions = pair.both().map(|(_, server)| revision(server));
    assert_eq!(revisions[0], revisions[1]);
    for (header, claims) in forged(revisions[0]) {
        let token = signed(SECRET, header, &claims);
        let [ours, theirs] = pair.both().map(|(_, server)| answers(server, &token));
        assert_eq!(ours, theirs, "{header} {claims}");
    }
    pair.assert_sound();
}

/// etcd takes such a token for writes, which no change of users would ever end.
#[test]
fn a_token_of_a_later_revision_has_no_rights_on_keys() {
    let keys = Keys::new();
    let server = Server::start_new(&program::quorate(), &[&keys.signing("HS256", "HS"), CHEAP]);
    enable(&server);
    for later in [revision(&server) + 1, u64::MAX] {
        let token = signed(SECRET, HEADER, &format!(r#"{{"username":"root","revision":{later}}}"#));
        assert_eq!([range(&server, &token), put(&server, &token)], [old(), old()], "{later}");
    }
}
