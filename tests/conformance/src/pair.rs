//! A Quorate and an etcd that cannot be told apart by who they are.

use std::os::unix::process::ExitStatusExt as _;

use quorate_test_support::program;
use quorate_test_support::server::Server;

/// Member and cluster ids follow from the peer URLs, which are the same for both.
const SAME_IDS: [&str; 2] =
    ["--initial-advertise-peer-urls=http://127.0.0.1:1", "--initial-cluster=m1=http://127.0.0.1:1"];

/// How a server ends that was asked to: by the signal, like etcd.
const TERMINATED: i32 = 15;

/// Both servers, ready, with the same member id, cluster id and raft term.
#[derive(Debug)]
pub struct Pair {
    /// The server under test.
    pub quorate: Server,
    /// The one it is compared with.
    pub etcd: Server,
}

impl Pair {
    /// Starts both with these flags besides; `None`, said loudly, when etcd cannot be built here.
    ///
    /// # Panics
    /// When one does not start.
    pub fn start(suite: &str, flags: &[&str]) -> Option<Self> {
        let etcd = program::peer(suite, "etcd-3.7")?;
        let flags = [&SAME_IDS, flags].concat();
        let etcd = Server::start_new(&etcd, &flags);
        let mut quorate = Server::start_new(&program::quorate(), &flags);
        // etcd's first term is 2, because its configuration took up term 1. A second start brings
        // Quorate to the same term, so that terms can be compared byte for byte.
        let end = quorate.stop();
        assert_eq!(end.signal(), Some(TERMINATED), "{end}:\n{}", quorate.log_tail());
        quorate.start();
        Some(Self { quorate, etcd })
    }

    /// Both, with their names.
    pub fn both(&self) -> [(&'static str, &Server); 2] {
        [("quorate", &self.quorate), ("etcd", &self.etcd)]
    }

    /// Checks what no request may lead to: an end, or a panic, of Quorate.
    ///
    /// # Panics
    /// When there was one.
    pub fn assert_sound(&mut self) {
        let end = self.quorate.exit_status();
        assert!(end.is_none(), "quorate ended, {end:?}:\n{}", self.quorate.log_tail());
        let log = self.quorate.log();
        let fault = log.lines().find(|line| line.contains("a fault of the program"));
        assert!(fault.is_none(), "quorate panicked: {fault:?}");
    }
}
