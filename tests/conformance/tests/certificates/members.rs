//! Clusters whose members present certificates of every kind that etcd accepts.

use quorate_test_support::program;
use quorate_test_support::server::Server;

use crate::{Table, start_together};

/// Starts three members; each presents one of these certificates to the others.
fn start(table: &Table, kinds: [&str; 3]) -> [Server; 3] {
    let mut members = [0, 1, 2].map(|at| {
        let flags = table.flags("peer-", kinds[at]);
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        Server::new(&program::quorate(), &flags).named(&format!("m{at}")).with_peer_tls()
    });
    start_together(&mut members);
    members
}

#[test]
fn members_with_certificates_of_every_kind_elect_a_leader() {
    let Some(table) = Table::make("certificates between members") else { return };
    for kinds in [
        ["leaf-usage-any", "leaf-authority", "issuer-and-key-p521"],
        ["self-authority", "issuer-p256-sha512", "leaf-usage-none"],
        ["self-no-authority", "root-version-1", "middle"],
    ] {
        // With the third member stopped, the first two need each other.
        let mut members = start(&table, kinds);
        members[2].stop();
        members[0].stop();
        members[0].start();
    }
}
