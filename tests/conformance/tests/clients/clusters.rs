//! The clusters that the clients use.

use std::path::Path;
use std::process::Command;

use quorate_test_support::certs::Pki;
use quorate_test_support::cluster::Cluster;
use quorate_test_support::program::etcd;
use quorate_test_support::server::Server;
use tempfile::TempDir;

/// The start of the keys of all clients.
pub(crate) const PREFIX: &str = "clients/";
/// Makes hashes of passwords cheap.
const CHEAP: &str = "--bcrypt-cost=4";

/// One cluster without TLS, and one that requires certificates of clients and authentication.
pub(crate) struct Clusters {
    /// The file name of their program.
    pub(crate) program: String,
    plain: Cluster,
    secure: Cluster,
    pki: Pki,
    // Holds the certificates; removed on drop.
    folder: TempDir,
}

impl Clusters {
    /// Starts clusters of `size` members.
    pub(crate) fn start(program: &Path, size: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let pki = Pki::new(folder.path());
        let flags = [("cert", "server.crt"), ("key", "server.key"), ("trusted-ca", "ca.crt")]
            .map(|(flag, file)| format!("--{flag}-file={}", pki.path(file).display()));
        let [cert, key, ca] = flags.each_ref().map(String::as_str);
        let plain = Cluster::new(program, size, &[CHEAP]);
        let mut secure = Cluster::new(program, size, &[CHEAP, cert, key, ca, "--client-cert-auth"]);
        secure.members = secure.members.into_iter().map(Server::with_tls).collect();
        let program = program.file_name().unwrap().to_string_lossy().into_owned();
        let mut clusters = Self { program, plain, secure, pki, folder };
        for cluster in [&mut clusters.plain, &mut clusters.secure] {
            cluster.spawn_in_turn();
            cluster.start();
        }
        clusters.require_users(&clusters.secure);
        clusters
    }

    /// The addresses of the members without TLS and with it.
    pub(crate) fn addresses(&self) -> [String; 2] {
        [&self.plain, &self.secure].map(|cluster| {
            cluster.members.iter().map(Server::address).collect::<Vec<_>>().join(",")
        })
    }

    /// The folder of the certificates.
    pub(crate) fn certificates(&self) -> &Path {
        self.folder.path()
    }

    /// Turns authentication on in the cluster without TLS, too.
    pub(crate) fn enable_authentication(&self) {
        self.require_users(&self.plain);
    }

    /// Makes the users and turns authentication on.
    fn require_users(&self, cluster: &Cluster) {
        let grant = ["role", "grant-permission", "worker", "readwrite", "--prefix", PREFIX];
        let commands: [&[&str]; 7] = [
            &["user", "add", "root:root"],
            &["user", "grant-role", "root", "root"],
            &["role", "add", "worker"],
            &grant,
            &["user", "add", "worker:work"],
            &["user", "grant-role", "worker", "worker"],
            &["auth", "enable"],
        ];
        let etcdctl = etcd("independent clients", "etcdctl").expect("etcd is there");
        for command in commands {
            let output = Command::new(&etcdctl)
                .arg("--endpoints")
                .arg(cluster.members[0].url())
                .arg("--cacert")
                .arg(self.pki.path("ca.crt"))
                .arg("--cert")
                .arg(self.pki.path("client.crt"))
                .arg("--key")
                .arg(self.pki.path("client.key"))
                .args(command)
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{command:?}: {said}");
        }
    }

    /// Checks that no member ended or panicked.
    pub(crate) fn finish(mut self) {
        for member in self.plain.members.iter_mut().chain(&mut self.secure.members) {
            assert_eq!(member.exit_status(), None, "{}", member.log_tail());
            assert_eq!(member.panic_line(), None, "{} has panicked", member.url());
        }
    }
}
