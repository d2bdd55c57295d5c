//! Certificates that the program makes itself, and the flags that ask for them.

use std::path::{Path, PathBuf};

use super::ports::Ports;
use super::reader::Reader;
use super::url::Url;

/// A certificate that the program makes and signs itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SelfSigned {
    /// The files, in one folder of the data directory, as in etcd.
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
    /// The hosts that the certificate is for.
    pub(crate) hosts: Vec<String>,
    /// How long it is valid.
    pub(crate) years: u32,
}

impl SelfSigned {
    /// The paths of the certificate and its key.
    pub(super) fn pair(&self) -> (PathBuf, PathBuf) {
        (self.certificate.clone(), self.key.clone())
    }
}

/// The certificates to make.
pub(super) struct Made {
    pub(super) clients: Option<SelfSigned>,
    pub(super) peers: Option<SelfSigned>,
}

/// Reads the flags. The program makes no certificate where one is given.
pub(super) fn read(reader: &mut Reader<'_>, ports: &Ports, data_dir: &Path) -> Made {
    let years = reader.count("self-signed-cert-validity");
    let mut made = |flag, side: &str, others: [&'static str; 3], urls: Vec<&Url>| {
        let [certificate, key, authorities] = others;
        if !reader.switch(flag) {
            return None;
        }
        if reader.path(certificate).is_some() || reader.path(key).is_some() {
            reader.warn(format!("--{flag} has no effect, because --{certificate} is set"));
            return None;
        }
        if reader.path(authorities).is_some() {
            // etcd ignores the CA file then, and checks no client certificate.
            reader.problem(authorities, format!("cannot be used with --{flag}"));
        }
        let folder = data_dir.join("fixtures").join(side);
        let mut hosts: Vec<String> = urls.iter().map(|url| url.host().to_owned()).collect();
        hosts.sort();
        hosts.dedup();
        let [certificate, key] = ["cert.pem", "key.pem"].map(|name| folder.join(name));
        Some(SelfSigned { certificate, key, hosts, years })
    };
    let clients = ports.clients.iter().chain(&ports.pages).collect();
    Made {
        clients: made("auto-tls", "client", ["cert-file", "key-file", "trusted-ca-file"], clients),
        peers: made(
            "peer-auto-tls",
            "peer",
            ["peer-cert-file", "peer-key-file", "peer-trusted-ca-file"],
            ports.peers.iter().collect(),
        ),
    }
}
