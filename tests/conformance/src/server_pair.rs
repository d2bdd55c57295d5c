//! A Quorate and an etcd with identical ids.

use std::os::unix::process::ExitStatusExt as _;

use quorate_test_support::program;
use quorate_test_support::server::Server;

/// Member and cluster ids are derived from the peer URLs, so both servers advertise the same ones.
const SAME_IDS: [&str; 2] =
    ["--initial-advertise-peer-urls=http://127.0.0.1:1", "--initial-cluster=m1=http://127.0.0.1:1"];

/// The peer URL that both advertise.
pub const PEER_URL: &str = "http://127.0.0.1:1";
/// Both servers end by the signal that stopped them, SIGTERM.
const TERMINATED: i32 = 15;

/// Both servers, ready, with the same member id, cluster id and raft term.
#[derive(Debug)]
pub struct ServerPair {
    /// The server under test.
    pub quorate: Server,
    /// The reference server.
    pub etcd: Server,
}

impl ServerPair {
    /// Starts both with these additional flags; `None`, reported as a skip, if etcd cannot be built
    /// here.
    ///
    /// # Panics
    /// If a server does not start.
    pub fn start(suite: &str, flags: &[&str]) -> Option<Self> {
        let etcd = program::etcd(suite, "etcd-3.7")?;
        let flags = [&SAME_IDS, flags].concat();
        let etcd = Server::start_new(&etcd, &flags);
        let mut quorate = Server::start_new(&program::quorate(), &flags);
        // etcd serves in term 2, because its bootstrap uses up term 1. A restart brings Quorate to
        // the same term, so that terms can be compared byte for byte.
        let end = quorate.stop();
        assert_eq!(end.signal(), Some(TERMINATED), "{end}:\n{}", quorate.log_tail());
        quorate.start();
        Some(Self { quorate, etcd })
    }

    /// Both servers, with their names.
    pub fn both(&self) -> [(&'static str, &Server); 2] {
        [("quorate", &self.quorate), ("etcd", &self.etcd)]
    }

    /// Checks that Quorate neither ended nor panicked, which no request may cause.
    ///
    /// # Panics
    /// If it did.
    pub fn assert_sound(&mut self) {
        let end = self.quorate.exit_status();
        assert!(end.is_none(), "quorate ended, {end:?}:\n{}", self.quorate.log_tail());
        assert_eq!(self.quorate.panic_line(), None, "quorate has panicked");
    }
}
