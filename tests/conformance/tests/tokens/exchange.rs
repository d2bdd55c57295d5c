//! Each server uses the tokens of the other, and each member those of all.

use std::path::Path;
use std::thread;

use quorate_test_support::cluster::Cluster;
use quorate_test_support::program;
use quorate_test_support::server::Server;

use crate::keys::{ALGORITHMS, Keys};
use crate::{
    CHEAP, Verdict, add_role, enable, invalid, log_in, old, put, range, success, token, verdict,
};

/// Algorithms whose servers run at the same time.
const AT_A_TIME: usize = 3;

/// The programs, and a server of each with these flags, with authentication on.
fn both(etcd: &Path, flag: &str) -> [Server; 2] {
    let servers = [etcd, &program::quorate()];
    let servers = servers.map(|program| Server::start_new(program, &[flag, CHEAP]));
    servers.iter().for_each(enable);
    servers
}

/// Makes each server use the tokens of the other.
fn exchange(etcd: &Path, keys: &Keys, name: &str, kind: &str) {
    let servers = both(etcd, &keys.signing(name, kind));
    let tokens = servers.each_ref().map(token);
    for token in &tokens {
        for server in &servers {
            assert_eq!(range(server, token), success(), "{name} {token}\n{}", server.log_tail());
            assert_eq!(put(server, &format!("Bearer {token}")), success(), "{name} {token}");
            assert_eq!(range(server, &token[..token.len() - 2]), invalid(), "{name}");
        }
    }
    for server in &servers {
        assert_eq!(add_role(server, &tokens[0], "new"), success(), "{name}");
        for token in &tokens {
            assert_eq!((range(server, token), put(server, token)), (old(), old()), "{name}");
        }
        assert_eq!(add_role(server, &tokens[1], "newer"), success(), "{name}");
    }
}

#[test]
fn tokens_of_each_algorithm_are_valid_at_both() {
    let Some(etcd) = program::etcd("tokens of etcd", "etcd-3.7") else { return };
    let keys = Keys::new();
    for some in ALGORITHMS.chunks(AT_A_TIME) {
        thread::scope(|scope| {
            for (name, kind) in some {
                scope.spawn(|| exchange(&etcd, &keys, name, kind));
            }
        });
    }
}

/// With a public key alone, tokens of others are valid, and none are given.
#[test]
fn a_public_key_alone_verifies() {
    let Some(etcd) = program::etcd("tokens of etcd", "etcd-3.7") else { return };
    let keys = Keys::new();
    for (name, kind) in [("RS384", "RS"), ("PS512", "RS"), ("ES512", "ES512"), ("EdDSA", "EdDSA")] {
        let signer = Server::start_new(&program::quorate(), &[&keys.signing(name, kind), CHEAP]);
        enable(&signer);
        let token = token(&signer);
        for server in &both(&etcd, &keys.verifying(name, kind)) {
            assert_eq!(range(server, &token), success(), "{name}\n{}", server.log_tail());
            let refused = log_in(server);
            let refused: Verdict = (refused.code.unwrap(), refused.message);
            let text = "auth: token signing attempted with verify-only key";
            assert_eq!(refused, verdict("2", text), "{name}");
        }
    }
}

#[test]
fn a_token_is_valid_at_every_member_and_after_a_restart() {
    let keys = Keys::new();
    let flags = [&keys.signing("EdDSA", "EdDSA"), CHEAP];
    let mut cluster = Cluster::start_new_in_turn(&program::quorate(), 3, &flags);
    enable(&cluster.members[0]);
    let tokens: Vec<String> = cluster.members.iter().map(token).collect();
    let assert_valid = |cluster: &Cluster| {
        for token in &tokens {
            for member in &cluster.members {
                assert_eq!(put(member, token), success());
            }
        }
    };
    assert_valid(&cluster);
    cluster.stop();
    cluster.start();
    assert_valid(&cluster);
}
