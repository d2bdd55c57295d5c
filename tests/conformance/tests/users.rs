//! Users and roles outlive the process, by the log and by the database; passwords do not reach the
//! disk.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;

use prost::Message;
use quorate_proto::authpb::UserAddOptions;
use quorate_proto::etcdserverpb as pb;
use quorate_test_conformance::raw::{Answer, call};
use quorate_test_support::program;
use quorate_test_support::server::Server;

/// A password, in a form that nothing else has.
const PASSWORD: &str = "0a72c3-correct-horse";

fn ask(server: &Server, method: &str, request: &impl Message) -> Answer {
    let answer = call(server, &format!("/etcdserverpb.Auth/{method}"), request);
    answer.assert_ok();
    answer
}

/// Whether a file in the folder, or in one below it, has the password.
fn has_password(folder: &Path) -> bool {
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    paths.into_iter().any(|path| {
        if path.is_dir() {
            return has_password(&path);
        }
        let content = fs::read(path).unwrap();
        content.windows(PASSWORD.len()).any(|bytes| bytes == PASSWORD.as_bytes())
    })
}

fn add_users(server: &Server) {
    let password = PASSWORD.to_owned();
    let alice = pb::AuthUserAddRequest {
        name: "alice".to_owned(),
        password: password.clone(),
        ..Default::default()
    };
    ask(server, "UserAdd", &alice);
    let name = "alice".to_owned();
    let change =
        pb::AuthUserChangePasswordRequest { name, password, hashed_password: String::new() };
    ask(server, "UserChangePassword", &change);
    // etcd writes this one to its log.
    let options = Some(UserAddOptions { no_password: true });
    ask(server, "UserAdd", &pb::AuthUserAddRequest { name: "bob".to_owned(), options, ..alice });
    let [user, role] = ["alice", "root"].map(str::to_owned);
    ask(server, "UserGrantRole", &pb::AuthUserGrantRoleRequest { user, role });
}

fn roles_of_alice(server: &Server) -> Vec<String> {
    let name = "alice".to_owned();
    let answer = ask(server, "UserGet", &pb::AuthUserGetRequest { name });
    answer.decode::<pb::AuthUserGetResponse>().roles
}

#[test]
fn users_outlive_the_process_and_passwords_do_not_reach_the_disk() {
    let mut server = Server::start_new(&program::quorate(), &["--bcrypt-cost=4"]);
    add_users(&server);
    // From the log, then from the database, which a stop completes.
    server.kill();
    server.start();
    assert_eq!(roles_of_alice(&server), ["root"]);
    server.stop();
    server.start();
    assert_eq!(roles_of_alice(&server), ["root"]);
    assert!(!server.log().contains(PASSWORD));
    server.stop();
    assert!(!has_password(&server.data_dir()), "the password is on the disk");
    // The search finds what is there.
    fs::write(server.data_dir().join("planted"), format!("x{PASSWORD}x")).unwrap();
    assert!(has_password(&server.data_dir()));
}
