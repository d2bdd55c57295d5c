//! Programs around etcd find the files that they look for.

use std::fs;

use quorate_test_support::certs::Pki;
use quorate_test_support::program;
use tempfile::TempDir;

use crate::deployment::{Deployment, NONE};
use crate::run::Running;

/// HyperShift, OpenShift and k0s take a member without `member/snap/db` for one that has lost its
/// data, and k3s one without `member/wal` for one that has not been founded.
#[test]
fn a_member_has_the_files_of_a_member_with_data() {
    let home = TempDir::new().unwrap();
    let pki = Pki::new(&home.path().join("pki"));
    let deployment = Deployment {
        name: "files",
        flags: "--data-dir={dir}/data --listen-client-urls=https://127.0.0.1:{client} \
                --advertise-client-urls=https://127.0.0.1:{client} \
                --listen-peer-urls=https://127.0.0.1:{peer} \
                --initial-advertise-peer-urls=https://127.0.0.1:{peer} \
                --initial-cluster=default=https://127.0.0.1:{peer} --auto-tls --peer-auto-tls",
        ..NONE
    };
    let mut running = Running::start(&program::quorate(), home.path(), &pki, &deployment);
    let is_ready = running.wait_for(|running| running.log().contains("ready to serve"));
    assert!(is_ready, "{}", running.log());
    for file in ["data/member/snap/db", "data/member/wal"] {
        assert!(running.dir().join(file).exists(), "{file}");
    }
    // The certificates that it made itself are where etcd's are.
    for file in ["client/cert.pem", "client/key.pem", "peer/cert.pem", "peer/key.pem"] {
        let text = fs::read_to_string(running.dir().join("data/fixtures").join(file)).unwrap();
        assert!(text.starts_with("-----BEGIN"), "{file}: {text}");
    }
}
