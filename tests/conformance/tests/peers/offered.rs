//! A listener at a member's URL that accepts every offered connection, and never answers a call.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use quorate_test_support::cluster::Cluster;
use quorate_test_support::program;
use quorate_test_support::usage::Usage;

/// Additional descriptors that the member may use.
const MORE_MAX: usize = 40;
/// This many connections show that there is no bound.
const ACCEPTED_MAX: usize = 200;
/// After this long without another connection, all of them are closed.
const NO_MORE: Duration = Duration::from_millis(500);
/// How many times all connections are closed.
const ROUNDS: usize = 2;
/// How long a round's first connection may take.
const WITHIN: Duration = Duration::from_secs(60);

const ANSWER: &str = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\n\
                      upgrade: quorate-lending\r\n\r\n";
/// Accepts the connection (byte 1), then starts HTTP/2 as a client with empty settings.
const ACCEPTS: &[u8] = b"\x01PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// Accepts an offered connection; never answers calls. `None` for other connections.
fn accept_offer(mut connection: TcpStream) -> Option<TcpStream> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        connection.read_exact(&mut byte).ok()?;
        head.extend(byte);
    }
    head.starts_with(b"GET ").then_some(())?;
    connection.write_all(ANSWER.as_bytes()).ok()?;
    connection.write_all(ACCEPTS).ok()?;
    Some(connection)
}

/// Sends each accepted connection to the returned channel.
fn accepted(listener: TcpListener) -> Receiver<TcpStream> {
    let (sender, receiver): (Sender<TcpStream>, _) = channel();
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let Some(connection) = accept_offer(connection.unwrap()) else { continue };
            if sender.send(connection).is_err() {
                return;
            }
        }
    });
    receiver
}

#[test]
fn the_number_of_offered_connections_is_bounded() {
    let mut cluster = Cluster::start_new(&program::quorate(), 1, &[]);
    cluster.put(0, "before", "anything");
    let pid = cluster.members[0].pid();
    let descriptors = || Usage::of(pid).expect("the member runs").descriptors;
    let before = descriptors();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let learner = cluster.new_place();
    cluster.members[learner].set_advertised_port(listener.local_addr().unwrap().port());
    let accepted = accepted(listener);
    cluster.add_learner(0, learner);
    for round in 0..ROUNDS {
        let mut held = vec![accepted.recv_timeout(WITHIN).expect("no connection is offered")];
        while let Ok(connection) = accepted.recv_timeout(NO_MORE) {
            held.push(connection);
            assert!(held.len() < ACCEPTED_MAX, "{} descriptors, and no end", descriptors());
        }
        let now = descriptors();
        assert!(now <= before + MORE_MAX, "{before} descriptors, then {now}, in round {round}");
        cluster.put(0, "accepted", &round.to_string());
        assert_eq!(cluster.get(0, "accepted"), Some(round.to_string()));
    }
}
