//! Files of trusted certificates: one bad part makes the whole file unusable.

use std::fs;
use std::path::Path;

use quorate_test_support::server::Server;
use quorate_test_support::{assert_contains, program};

use crate::{Table, write};

/// Starts a server that must refuse its file of trusted certificates, and returns its log.
fn refusal(table: &Table, program: &Path, bundle: &str) -> String {
    let pair = ["crt", "key"].map(|end| table.path(&format!("plain.{end}")).display().to_string());
    let [certificate, key] = pair;
    let flags = [
        format!("--cert-file={certificate}"),
        format!("--key-file={key}"),
        format!("--trusted-ca-file={bundle}"),
        "--client-cert-auth".to_owned(),
    ];
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let mut server = Server::new(program, &flags).with_tls();
    // Not `start`: etcd logs that it is ready before it notices that it cannot serve.
    server.spawn();
    let status = server.wait_for_end();
    let said = server.log_of_run();
    assert!(!status.success(), "{bundle}:\n{said}");
    said
}

#[test]
fn a_bundle_with_an_unreadable_part_is_refused() {
    let Some(table) = Table::make("bundles of certificates") else { return };
    let read = |name: &str| fs::read(table.path(name)).unwrap();
    let good = read("plain.crt");
    let key = read("plain.key");
    let unreadable = read("extension-twice.crt");
    let garbage = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let other = good.escape_ascii().to_string().replace("\\n", "\n");
    let other =
        other.replace("BEGIN CERT", "BEGIN TRUSTED CERT").replace("END CERT", "END TRUSTED CERT");
    let cut = &good[..good.len() / 2];
    let bundles = [
        (write(&table, "with-key.pem", &[&good, &key]), "1 of its 2 PEM blocks", true),
        (write(&table, "with-garbage.pem", &[&good, garbage, &good]), "certificate 2 of 3", true),
        (write(&table, "with-unreadable.pem", &[&unreadable, &good]), "certificate 1 of 2", true),
        // etcd skips incomplete blocks, and ignores the type that a block's header states.
        (
            write(&table, "with-trusted.pem", &[&good, other.as_bytes()]),
            "1 of its 2 PEM blocks",
            false,
        ),
        (write(&table, "cut-off.pem", &[&good, cut]), "cannot read", false),
    ];
    let etcd = program::etcd("bundles of certificates", "etcd-3.7");
    for (bundle, reason, is_etcds) in &bundles {
        let said = refusal(&table, &program::quorate(), bundle);
        assert_contains(&said, &["--trusted-ca-file", bundle, reason]);
        if let Some(etcd) = etcd.as_ref().filter(|_| *is_etcds) {
            refusal(&table, etcd, bundle);
        }
    }
}
