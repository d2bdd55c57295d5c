//! The users of deployments: the commands of their setup, a restart, and then the rights of their
//! clients. Quorate answers as etcd does.

use quorate_test_conformance::etcdctl::Comparison;
use quorate_test_support::certs::Pki;
use tempfile::TempDir;

/// Makes hashes of passwords cheap.
const CHEAP: &str = "--bcrypt-cost=4";

/// Certificates for clients with these names.
fn certificates(home: &TempDir, names: &[&str]) -> Pki {
    let pki = Pki::new(home.path());
    names.iter().for_each(|name| pki.issue_client(name));
    pki
}

/// The init container makes users without passwords, over connections without TLS. Then the member
/// is started with TLS, and the names in certificates are logins.
#[test]
fn the_users_of_cilium_read_what_their_roles_permit() {
    let flags = ["--initial-cluster-token=clustermesh-apiserver"];
    let Some(mut comparison) = Comparison::start("users of Cilium", &flags) else { return };
    let home = TempDir::new().unwrap();
    let pki = certificates(&home, &["admin-mesh", "remote", "local-mesh", "externalworkload"]);
    comparison.run(include_str!("users/cilium_init.txt"));
    let flags = ["--auto-compaction-retention=1", "--metrics=extensive"];
    comparison.restart_with_tls(&flags, &pki);
    comparison.run(include_str!("users/cilium.txt"));
    comparison.restart();
    comparison.run(include_str!("users/cilium_again.txt"));
    comparison.finish();
}

/// A job turns authentication on over TLS, and each tenant has a user and a prefix.
#[test]
fn the_tenants_of_kamaji_do_not_see_each_other() {
    let Some(mut comparison) = Comparison::start("tenants of kamaji", &[]) else { return };
    let home = TempDir::new().unwrap();
    let pki = certificates(&home, &["root", "tenant-a", "tenant-b", "tenant-c", "tenant-d"]);
    let flags = ["--auto-compaction-mode=periodic", "--auto-compaction-retention=5m"];
    comparison.restart_with_tls(&flags, &pki);
    comparison.run(include_str!("users/kamaji_job.txt"));
    comparison.run(include_str!("users/kamaji.txt"));
    comparison.restart();
    comparison.run(include_str!("users/kamaji_again.txt"));
    comparison.finish();
}

/// A container sets a password for `root` before it serves others.
#[test]
fn the_root_password_of_bitnami_is_needed_from_the_next_start_on() {
    let flags = [CHEAP, "--auth-token=simple"];
    let Some(mut comparison) = Comparison::start("root of bitnami", &flags) else { return };
    comparison.run(include_str!("users/bitnami_setup.txt"));
    comparison.restart();
    comparison.run(include_str!("users/bitnami.txt"));
    comparison.restart();
    comparison.run(include_str!("users/bitnami_again.txt"));
    comparison.finish();
}
