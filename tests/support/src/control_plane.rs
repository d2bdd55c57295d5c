//! A Kubernetes control plane on Quorate, without nodes: the API server, the controllers and the
//! scheduler.

use std::io::Write as _;
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::port;
use crate::program;
use crate::repository;
use crate::require::{self, Need};

/// The needs of `control-plane.sh`.
const NEEDS: [Need; 6] = [
    Need::Program("go"),
    Need::Program("bash"),
    Need::Program("curl"),
    Need::Program("openssl"),
    Need::Program("python3"),
    Need::Program("setsid"),
];
/// A control plane that runs until it is dropped.
pub struct ControlPlane {
    folder: TempDir,
}

/// The output of a program, and whether the program succeeded.
#[derive(Clone, Debug)]
pub struct Said {
    /// Whether its exit status was zero.
    pub is_ok: bool,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Said {
    /// Runs the program with a text on its standard input.
    ///
    /// # Panics
    /// If it cannot be run.
    pub fn by(command: &mut Command, input: &str) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let mut stdin = child.stdin.take().expect("it is piped");
        let output = std::thread::scope(|scope| {
            // A program that does not read it to its end breaks the pipe.
            scope.spawn(move || drop(stdin.write_all(input.as_bytes())));
            child.wait_with_output().expect("it was started")
        });
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self {
            is_ok: output.status.success(),
            out: text(&output.stdout),
            err: text(&output.stderr),
        }
    }

    /// Standard output of a program that must have succeeded.
    ///
    /// # Panics
    /// If it failed.
    #[track_caller]
    pub fn expect(self, what: &str) -> String {
        assert!(self.is_ok, "{what} failed:\n{}{}", self.out, self.err);
        self.out
    }

    /// Standard error of a program that must have failed.
    ///
    /// # Panics
    /// If it succeeded.
    #[track_caller]
    pub fn expect_refusal(self, what: &str) -> String {
        assert!(!self.is_ok, "{what} was not refused:\n{}", self.out);
        self.err
    }
}

impl ControlPlane {
    /// Starts a control plane on the release build of `quorate`, and returns when its API server
    /// is ready. `None` if it cannot run here, which is reported as a skip of `suite`.
    ///
    /// # Panics
    /// If it does not start, or if it cannot run here and `QUORATE_REQUIRE=all` is set.
    pub fn start(suite: &str) -> Option<Self> {
        if !require::met(suite, &NEEDS) {
            return None;
        }
        program::run_script("tests/e2e/kubernetes/build.sh", &["control-plane"]);
        let prefix = "quorate-control-plane-";
        let folder = tempfile::Builder::new().prefix(prefix).tempdir().expect("a folder");
        let plane = Self { folder };
        let [store, _peer] = adjacent();
        let [api, _controllers, _scheduler] = adjacent();
        let said = Said::by(
            plane
                .script("up")
                .env("STORE_BIN", program::quorate())
                .env("STORE_PORT", store.to_string())
                .env("PORT", api.to_string()),
            "",
        );
        said.expect("control-plane.sh up");
        Some(plane)
    }

    /// The file with which an administrator's programs find the API server.
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder.path().join("pki/admin.kubeconfig")
    }

    /// Runs kubectl as an administrator, with a text on its standard input.
    pub fn kubectl(&self, args: &[&str], input: &str) -> Said {
        let mut kubectl = Command::new(program::cache().join("bin/kubectl"));
        Said::by(self.as_admin(&mut kubectl).args(args), input)
    }

    /// Lets a program that reads `KUBECONFIG` find the API server, and keeps kubectl's cache here.
    pub fn as_admin<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command
            .env("KUBECONFIG", self.kubeconfig())
            .env("KUBECACHEDIR", self.folder.path().join("kubectl-cache"))
    }

    fn script(&self, action: &str) -> Command {
        let mut command = Command::new("bash");
        command.arg(script_path()).arg(action).arg(self.folder.path());
        command.env("PATH", program::search_path()).env_remove("MEMBERS");
        command
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        let said = Said::by(&mut self.script("down"), "");
        assert!(said.is_ok || std::thread::panicking(), "control-plane.sh down: {}", said.err);
    }
}

fn script_path() -> PathBuf {
    repository().join("tests/e2e/kubernetes/control-plane.sh")
}

/// Free ports, each the number after the one before.
fn adjacent<const N: usize>() -> [u16; N] {
    loop {
        let [first] = port::free();
        let mut ports = [first; N];
        for (port, offset) in ports.iter_mut().zip(0..) {
            *port = first.saturating_add(offset);
        }
        let after = &ports[1..];
        if after.iter().all(|&port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()) {
            return ports;
        }
    }
}
