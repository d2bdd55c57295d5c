//! Applications that find each other in the store: CoreDNS, the calls of Traefik, and gRPC with the
//! resolver of etcd's Go client. `server/docs/applications.md` says how to set them up.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod coredns;
mod dns;

use std::process::Command;

use quorate_test_conformance::server_pair::ServerPair;
use quorate_test_support::{assert_contains, program};

/// Builds the programs of `tests/conformance/applications`.
fn build() {
    program::run_script("tests/conformance/applications/build.sh", &[]);
}

/// The output of an application, which must be the same for Quorate and for etcd. `None`, which is
/// reported as a skip, if the programs cannot be built here.
fn printed(application: &str) -> Option<String> {
    let mut pair = ServerPair::start(application, &[])?;
    build();
    let [ours, theirs] = pair.both().map(|(name, server)| {
        let mut command = Command::new(program::cache().join("bin/applications"));
        let output = command.args(["-endpoint", &server.url(), application]).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{application} on {name}: {errors}");
        String::from_utf8(output.stdout).unwrap()
    });
    assert_eq!(ours, theirs);
    pair.assert_sound();
    Some(ours)
}

#[test]
fn traefik_sees_its_configuration_and_changes() {
    let Some(printed) = printed("traefik") else { return };
    let rows = ["web/rule = \"Host(`web.example`)\" at 2", "web/service = \"web\" at 2"];
    assert_contains(&printed, &rows);
    let changes = ["PUT traefik/http/services/web", "DELETE traefik/http/routers/web/rule = \"\""];
    assert_contains(&printed, &changes);
}

#[test]
fn the_resolver_of_gos_client_balances_calls() {
    let Some(printed) = printed("resolver") else { return };
    let expected = "two servers: 15, 15, 0\n\
                    one more: 10, 10, 10\n\
                    one less: 15, 0, 15\n\
                    the end of the lease: 0, 0, 30\n";
    assert_eq!(printed, expected);
}
