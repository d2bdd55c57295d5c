//! Commands of etcdctl that run until they are stopped: elections, and mirrors.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead as _, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use quorate_test_support::server::Server;
use quorate_test_support::{http, program, wait};
use rustix::process::{Pid, Signal, kill_process};

/// How long a command may take to have its effect.
const WITHIN: Duration = Duration::from_secs(30);

/// etcdctl at a server; killed on drop.
struct Running {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Running {
    fn start(etcdctl: &std::path::Path, server: &Server, words: &[&str]) -> Self {
        let mut command = Command::new(etcdctl);
        command.args(["--endpoints", &server.address()]).args(words);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self { child, lines }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    fn interrupt(&mut self) {
        let process = Pid::from_raw(self.child.id().try_into().unwrap()).unwrap();
        kill_process(process, Signal::INT).unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[test]
fn elect_elects_and_listens() {
    let Some(etcdctl) = program::etcd("etcdctl, elect", "etcdctl") else { return };
    let server = Server::start_new(&program::quorate(), &[]);
    let mut listener = Running::start(&etcdctl, &server, &["elect", "-l", "e"]);
    let mut first = Running::start(&etcdctl, &server, &["elect", "e", "one"]);
    let key = first.line();
    assert!(key.starts_with("e/"), "{key}");
    assert_eq!(first.line(), "one");
    assert_eq!([listener.line(), listener.line()], [key.as_str(), "one"]);
    let mut second = Running::start(&etcdctl, &server, &["elect", "e", "two"]);
    // The second one waits for its turn until the first one resigns.
    wait::until("two candidates", WITHIN, || {
        let keys = http::get(&server.address(), "/v1/keys/e/?prefix")?;
        (keys.lines().count() == 2).then_some(())
    });
    first.interrupt();
    let next = second.line();
    assert!(next.starts_with("e/") && next != key, "{next}");
    assert_eq!(second.line(), "two");
    assert_eq!([listener.line(), listener.line()], [next.as_str(), "two"]);
}

#[test]
fn make_mirror_copies_keys_and_changes() {
    let Some(etcdctl) = program::etcd("etcdctl, make-mirror", "etcdctl") else { return };
    let [from, to] = [(); 2].map(|()| Server::start_new(&program::quorate(), &[]));
    let key = |server: &Server, method: &str, key: &str| {
        let (head, body) = http::ask(&server.address(), method, &format!("/v1/keys/{key}"))?;
        head.contains("200").then_some(body)
    };
    assert!(key(&from, "PUT", "a/before").is_some() && key(&from, "PUT", "b/other").is_some());
    let address = to.address();
    let words = ["make-mirror", "--prefix", "a/", "--dest-prefix", "c/", &address];
    let _mirror = Running::start(&etcdctl, &from, &words);
    wait::until("the key from before", WITHIN, || key(&to, "GET", "c/before"));
    assert!(key(&from, "PUT", "a/after").is_some());
    wait::until("a new key", WITHIN, || key(&to, "GET", "c/after"));
    assert!(key(&from, "DELETE", "a/before").is_some());
    wait::until("a deletion", WITHIN, || key(&to, "GET", "c/before").is_none().then_some(()));
    assert!(key(&to, "GET", "b/other").is_none() && key(&to, "GET", "c/other").is_none());
}
