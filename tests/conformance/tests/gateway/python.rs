//! A Python client of the gateway: Patroni's own code for etcd.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use quorate_test_support::program;
use quorate_test_support::require::{Need, met};

/// The packages, at the versions that the scripts are for.
const PACKAGES: [&str; 4] =
    ["patroni==4.1.0", "psycopg[binary]==3.3.9", "python-etcd==0.4.5", "dnspython==2.9.2"];

fn run(program: &Path, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    let said =
        [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned());
    assert!(output.status.success(), "{} {arguments:?}:\n{}", program.display(), said.concat());
    said.concat()
}

/// The Python of an environment with the packages. It is made once, in the cache.
fn python() -> &'static Path {
    static PYTHON: OnceLock<PathBuf> = OnceLock::new();
    PYTHON.get_or_init(|| {
        let folder = program::cache().join("python-clients-2");
        let (python, is_complete) = (folder.join("bin/python"), folder.join("complete"));
        if !is_complete.exists() {
            run(Path::new("python3"), &["-m", "venv", "--clear", folder.to_str().unwrap()]);
            let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
            run(&python, &[&pip[..], &PACKAGES].concat());
            std::fs::write(is_complete, "").unwrap();
        }
        python
    })
}

#[test]
fn patroni_is_served() {
    if !met("Patroni's code for etcd", &[Need::Program("python3")]) {
        return;
    }
    let server = super::start(&[]);
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/gateway/with_patroni.py");
    let address = server.address();
    let (host, port) = address.rsplit_once(':').unwrap();
    let said = run(python(), &[script, host, port]);
    assert!(said.contains("done"), "{said}");
}
