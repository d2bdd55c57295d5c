//! Signed tokens: those of etcd are valid at Quorate and the reverse, with each algorithm. If one
//! server refuses a token or an option, the other refuses it in the same words.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod claims;
mod exchange;
mod hostile;
mod keys;
mod options;

use http::{HeaderName, HeaderValue};
use prost::Message;
use quorate_proto::etcdserverpb as pb;
use quorate_test_conformance::raw::{Answer, Connection, call, frame};
use quorate_test_support::block_on;
use quorate_test_support::server::Server;

/// Makes hashes of passwords cheap.
const CHEAP: &str = "--bcrypt-cost=4";
/// The user, its role, and its password.
const ROOT: &str = "root";

/// The code and the text of an answer.
type Verdict = (String, String);

fn verdict(code: &str, text: &str) -> Verdict {
    (code.to_owned(), text.to_owned())
}

fn success() -> Verdict {
    verdict("0", "")
}

fn invalid() -> Verdict {
    verdict("16", "etcdserver: invalid auth token")
}

fn old() -> Verdict {
    verdict("3", "etcdserver: revision of auth store is old")
}

fn ask(server: &Server, method: &str, request: &impl Message) -> Answer {
    let answer = call(server, &format!("/etcdserverpb.Auth/{method}"), request);
    answer.assert_ok();
    answer
}

/// Turns authentication on.
fn enable(server: &Server) {
    let own = str::to_owned;
    let (name, password) = (own(ROOT), own(ROOT));
    let user = pb::AuthUserAddRequest { name, password, ..Default::default() };
    ask(server, "UserAdd", &user);
    let grant = pb::AuthUserGrantRoleRequest { user: own(ROOT), role: own(ROOT) };
    ask(server, "UserGrantRole", &grant);
    ask(server, "AuthEnable", &pb::AuthEnableRequest {});
}

/// Asks for a token of root.
fn log_in(server: &Server) -> Answer {
    let own = str::to_owned;
    let request = pb::AuthenticateRequest { name: own(ROOT), password: own(ROOT) };
    call(server, "/etcdserverpb.Auth/Authenticate", &request)
}

/// A token of root.
fn token(server: &Server) -> String {
    let answer = log_in(server);
    answer.assert_ok();
    answer.decode::<pb::AuthenticateResponse>().token
}

/// Calls a method with a token.
fn with_token(server: &Server, path: &str, token: &str, message: &impl Message) -> Verdict {
    let mut request = Connection::request(path);
    let token = HeaderValue::from_bytes(token.as_bytes()).unwrap();
    request.headers_mut().insert(HeaderName::from_static("token"), token);
    let answer = block_on(async {
        let connection = Connection::open(&server.address()).await;
        connection.call(request, frame(&message.encode_to_vec())).await
    });
    (answer.code.unwrap(), answer.message)
}

fn range(server: &Server, token: &str) -> Verdict {
    let range = pb::RangeRequest { key: "k".into(), ..Default::default() };
    with_token(server, "/etcdserverpb.KV/Range", token, &range)
}

fn put(server: &Server, token: &str) -> Verdict {
    let put = pb::PutRequest { key: "k".into(), ..Default::default() };
    with_token(server, "/etcdserverpb.KV/Put", token, &put)
}

fn add_role(server: &Server, token: &str, name: &str) -> Verdict {
    let add = pb::AuthRoleAddRequest { name: name.to_owned() };
    with_token(server, "/etcdserverpb.Auth/RoleAdd", token, &add)
}
