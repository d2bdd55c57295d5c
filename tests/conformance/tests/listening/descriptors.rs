//! The limit of open files: clients cannot use up the descriptors that the store needs.

use std::net::TcpStream;

use quorate_test_conformance::raw::Connection;
use quorate_test_support::server::Server;
use quorate_test_support::{block_on, http, port, program, wait};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::{PATIENCE, put};

/// Starts a server with these soft and hard limits of open files.
fn limited(soft: u32, hard: u32, flags: &[&str]) -> Server {
    let set = format!("ulimit -Sn {soft} && ulimit -Hn {hard} && exec \"$@\"");
    let mut server =
        Server::new(&program::quorate(), flags).with_launcher(&["bash", "-c", &set, "bash"]);
    server.start();
    server
}

/// The server's soft limit of open files.
fn limit_of(server: &Server) -> u64 {
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", server.pid())).unwrap();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

#[test]
fn the_limit_of_descriptors_is_raised() {
    let mut server = limited(1024, 2000, &[]);
    assert_eq!(limit_of(&server), 2000);
    server.stop();
}

#[test]
fn silent_connections_do_not_exhaust_the_descriptors() {
    // This process holds the clients' ends of the connections.
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
    let [metrics] = port::free();
    let metrics = format!("127.0.0.1:{metrics}");
    let mut server = limited(1024, 1024, &[&format!("--listen-metrics-urls=http://{metrics}")]);
    block_on(async {
        let client = Connection::open(&server.address()).await;
        put(&client, b"before".to_vec()).await;
        let connect = |address: String| move |_| TcpStream::connect(&address).unwrap();
        let mut silent: Vec<TcpStream> = (0..1200).map(connect(server.address())).collect();
        silent.extend((0..200).map(connect(server.peer_address())));
        // Needs new log segments: the first one holds 4 MiB.
        for _ in 0..40 {
            put(&client, vec![1; 1 << 20]).await;
        }
        assert_eq!(server.exit_status(), None);
        assert!(http::get(&metrics, "/metrics").is_some(), "the metrics are served");
        // The server closes the silent connections by itself after a while.
        wait::until("a new client is served", PATIENCE, || {
            http::get(&server.address(), "/version")
        });
        wait::until("members are served", PATIENCE, || {
            http::get(&server.peer_address(), "/version")
        });
        drop(silent);
    });
    let said = server.log();
    assert!(said.contains("no new connection is accepted"), "{}", server.log_tail());
    server.stop();
}
