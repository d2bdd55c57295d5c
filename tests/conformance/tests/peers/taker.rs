//! A listener at a member's URL that takes every connection lent to it, and never answers a call.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use quorate_test_support::cluster::Cluster;
use quorate_test_support::program;
use quorate_test_support::usage::Usage;

/// Additional descriptors that the member may use.
const MORE_MAX: usize = 40;
/// With this many connections, there is evidently no bound.
const TAKEN_MAX: usize = 200;
/// Once no connection came for this long, all of them are closed.
const NO_MORE: Duration = Duration::from_millis(500);
/// How many times all connections are closed.
const ROUNDS: usize = 2;
/// How long a round's first connection may take.
const WITHIN: Duration = Duration::from_secs(60);

const ANSWER: &str = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\n\
                      upgrade: quorate-lending\r\n\r\n";
/// Takes the connection (byte 1), then starts HTTP/2 as a client with empty settings.
const TAKES: &[u8] = b"\x01PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// Takes a lent connection; never answers calls. `None` for other connections.
fn take(mut connection: TcpStream) -> Option<TcpStream> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        connection.read_exact(&mut byte).ok()?;
        head.extend(byte);
    }
    head.starts_with(b"GET ").then_some(())?;
    connection.write_all(ANSWER.as_bytes()).ok()?;
    connection.write_all(TAKES).ok()?;
    Some(connection)
}

/// Sends each taken connection to the returned channel.
fn taken(listener: TcpListener) -> Receiver<TcpStream> {
    let (sender, receiver): (Sender<TcpStream>, _) = channel();
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let Some(connection) = take(connection.unwrap()) else { continue };
            if sender.send(connection).is_err() {
                return;
            }
        }
    });
    receiver
}

#[test]
fn whoever_takes_all_that_is_lent_gets_little() {
    let mut cluster = Cluster::start_new(&program::quorate(), 1, &[]);
    cluster.put(0, "before", "anybody takes");
    let pid = cluster.members[0].pid();
    let descriptors = || Usage::of(pid).expect("the member runs").descriptors;
    let before = descriptors();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let learner = cluster.new_place();
    cluster.members[learner].set_advertised_port(listener.local_addr().unwrap().port());
    let taken = taken(listener);
    cluster.add_learner(0, learner);
    for round in 0..ROUNDS {
        let mut held = vec![taken.recv_timeout(WITHIN).expect("nothing is lent")];
        while let Ok(connection) = taken.recv_timeout(NO_MORE) {
            held.push(connection);
            assert!(held.len() < TAKEN_MAX, "taken without end: {} descriptors", descriptors());
        }
        let now = descriptors();
        assert!(now <= before + MORE_MAX, "{before} descriptors, then {now}, in round {round}");
        cluster.put(0, "taken", &round.to_string());
        assert_eq!(cluster.get(0, "taken"), Some(round.to_string()));
    }
}
