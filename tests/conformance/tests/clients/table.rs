//! The clients, and the checks that each of them can do.

use std::process::Command;
use std::sync::OnceLock;

use quorate_test_support::program::{cache, run_script};
use quorate_test_support::repository;
use quorate_test_support::require::{Need, met};

/// The checks, in their order.
const CHECKS: [&str; 17] = [
    "put",
    "range",
    "delete",
    "txn",
    "lease",
    "expiry",
    "watch",
    "history",
    "lock",
    "election",
    "users",
    "compaction",
    "login",
    "wrong password",
    "denied",
    "TLS",
    "no certificate",
];

/// How a client's program is made and run.
#[derive(Debug)]
enum Language {
    /// This version of etcd's own client.
    Go(&'static str),
    /// The program for this package.
    Python(&'static str),
    Node,
    Java,
    Rust,
}

/// A client.
#[derive(Debug)]
pub(crate) struct Client {
    /// Its name and version. They are in its keys, too, and in `server/COMPATIBILITY.md`.
    pub(crate) name: &'static str,
    language: Language,
    /// The checks that it cannot do.
    lacks: &'static [&'static str],
}

const CLIENTS: [Client; 11] = [
    Client { name: "Go clientv3 3.4.13", language: Language::Go("3.4"), lacks: &[] },
    Client { name: "Go clientv3 3.5.0", language: Language::Go("3.5.0"), lacks: &[] },
    Client { name: "Go clientv3 3.5.35", language: Language::Go("3.5.35"), lacks: &[] },
    Client { name: "Go clientv3 3.7.3", language: Language::Go("3.7.3"), lacks: &[] },
    Client {
        name: "Go clientv3 3.8.0-alpha.0",
        language: Language::Go("3.8.0-alpha.0"),
        lacks: &[],
    },
    Client {
        name: "Python etcd3 0.12.0",
        language: Language::Python("etcd3"),
        lacks: &["election", "users", "login"],
    },
    Client {
        name: "Python aetcd 1.0.0",
        language: Language::Python("aetcd"),
        lacks: &["election", "users", "TLS", "no certificate"],
    },
    Client {
        name: "Python etcd3gw 2.7.0",
        language: Language::Python("etcd3gw"),
        lacks: &["election", "users"],
    },
    Client { name: "Node.js etcd3 1.1.2", language: Language::Node, lacks: &[] },
    Client { name: "Java jetcd 0.8.7", language: Language::Java, lacks: &[] },
    Client { name: "Rust etcd-client 0.21.1", language: Language::Rust, lacks: &[] },
];

/// The names of all clients.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    CLIENTS.iter().map(|client| client.name)
}

/// The clients whose programs can be made here. The first call makes the programs.
pub(crate) fn available() -> &'static [&'static Client] {
    static AVAILABLE: OnceLock<Vec<&'static Client>> = OnceLock::new();
    AVAILABLE.get_or_init(|| {
        let available: Vec<&Client> =
            CLIENTS.iter().filter(|client| client.can_be_made()).collect();
        let builds: Vec<String> = available.iter().map(|client| client.build()).collect();
        let builds: Vec<&str> = builds.iter().map(String::as_str).collect();
        run_script("tests/conformance/clients/build.sh", &builds);
        available
    })
}

impl Client {
    /// The checks that it does.
    pub(crate) fn checks(&self) -> Vec<&'static str> {
        CHECKS.into_iter().filter(|check| !self.lacks.contains(check)).collect()
    }

    /// The start of all its keys.
    pub(crate) fn prefix(&self) -> String {
        format!("{}{}/", crate::clusters::PREFIX, self.name)
    }

    /// Whether the machine has the tools that make and run its program; if not, reports a skip.
    fn can_be_made(&self) -> bool {
        let programs: &[&str] = match self.language {
            Language::Go(_) => &["go"],
            Language::Python(_) => &["python3"],
            Language::Node => &["node", "npm"],
            Language::Java => &["java", "javac", "mvn"],
            Language::Rust => &["cargo", "python3"],
        };
        let needs: Vec<Need> =
            ["bash"].iter().chain(programs).copied().map(Need::Program).collect();
        met(self.name, &needs)
    }

    /// Its name for the script that builds its program.
    fn build(&self) -> String {
        match self.language {
            Language::Go(version) => format!("go/{version}"),
            Language::Python(_) => "python".to_owned(),
            Language::Node => "node".to_owned(),
            Language::Java => "java".to_owned(),
            Language::Rust => "rust".to_owned(),
        }
    }

    /// Its program.
    pub(crate) fn command(&self) -> Command {
        let sources = repository().join("tests/conformance/clients");
        let bin = cache().join("bin");
        match self.language {
            Language::Go(version) => Command::new(bin.join(format!("client-go-{version}"))),
            Language::Python(package) => {
                let mut command = Command::new(cache().join("client-python/bin/python"));
                command.arg(sources.join(format!("python/with_{package}.py")));
                // The code of etcd3 was generated for an older library.
                command.env("PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION", "python");
                command.env("PYTHONDONTWRITEBYTECODE", "1");
                command
            }
            Language::Node => {
                let mut command = Command::new("node");
                command.arg(sources.join("node/checks.js"));
                command.env("NODE_PATH", cache().join("client-node/node_modules"));
                command
            }
            Language::Java => {
                let folder = cache().join("client-java");
                let mut command = Command::new("java");
                // The program is too short to gain from a better compilation.
                command.args(["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp"]);
                command.arg(format!("{0}/*:{0}", folder.display()));
                command.arg("Checks");
                command
            }
            Language::Rust => Command::new(bin.join("client-rust")),
        }
    }
}
