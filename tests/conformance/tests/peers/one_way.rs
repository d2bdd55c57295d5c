//! Members whose advertised URL the others cannot reach, although they can reach the others.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use quorate_test_support::cluster::Cluster;
use quorate_test_support::proxy::{Proxies, ProxyMode};
use quorate_test_support::{port, program, wait};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::impostor::Impostor;

/// How long a put and a read together may take while the cluster is stable.
const SERVES_WITHIN: Duration = Duration::from_secs(5);
/// How long they may take after a kill or a change of leader.
const RETURNS_WITHIN: Duration = Duration::from_secs(20);
/// 1 for each other member with a connection.
const ACTIVE_PEERS: &str = "etcd_network_active_peers";
/// How many times it is checked that connections last.
const ROUNDS: usize = 20;

/// A port that accepts connections and never answers, until the listener is dropped.
fn silent() -> (u16, std::net::TcpListener) {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    (listener.local_addr().unwrap().port(), listener)
}

/// A port that loses all packets sent to it, until the sockets are dropped.
async fn lost() -> (u16, TcpListener, [TcpStream; 2]) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    // The listen queue is full: the system drops further connection attempts.
    let one = TcpStream::connect(address).await.unwrap();
    let other = TcpStream::connect(address).await.unwrap();
    (address.port(), listener, [one, other])
}

/// Puts and reads through each of these members; both together must finish within `limit`.
fn serve(cluster: &Cluster, members: &[usize], what: &str, limit: Duration) {
    for member in members.iter().copied() {
        let begun = Instant::now();
        cluster.put(member, "served", what);
        assert_eq!(cluster.get(member, "served").as_deref(), Some(what));
        let took = begun.elapsed();
        let member = cluster.members[member].name();
        assert!(took < limit, "{what}: {member} took {took:?}");
    }
}

/// Waits until all members but the first have logged `what`.
fn await_log_of_others(cluster: &Cluster, what: &str) {
    wait::until(what, RETURNS_WITHIN, || {
        cluster.members[1..].iter().all(|member| member.log().contains(what)).then_some(())
    });
}

/// Waits until each member's metrics show connections to both others.
fn await_connections(cluster: &Cluster) {
    for member in &cluster.members {
        wait::until("connections to both others", RETURNS_WITHIN, || {
            (quorate_test_support::http::metric(&member.address(), ACTIVE_PEERS)? == 2.0)
                .then_some(())
        });
    }
}

/// Moves the leader, and kills and restarts members. All running members must serve throughout.
fn assert_serves(mut cluster: Cluster) {
    cluster.start();
    serve(&cluster, &[0, 1, 2], "at first", RETURNS_WITHIN);
    for leader in [1, 0, 2] {
        if cluster.leader().0 != leader {
            cluster.move_leader(leader);
        }
        serve(&cluster, &[0, 1, 2], "under another leader", RETURNS_WITHIN);
        serve(&cluster, &[0, 1, 2], "under this leader", SERVES_WITHIN);
    }
    // Without member 2, the other two need each other for a majority.
    cluster.members[2].kill();
    serve(&cluster, &[0, 1], "without one that is reached", RETURNS_WITHIN);
    cluster.start();
    cluster.members[0].stop();
    serve(&cluster, &[1, 2], "without it", RETURNS_WITHIN);
    cluster.start();
    serve(&cluster, &[0, 1, 2], "after its restart", RETURNS_WITHIN);
    cluster.kill();
    cluster.start();
    serve(&cluster, &[0, 1, 2], "after all were killed", RETURNS_WITHIN);
}

fn cluster() -> Cluster {
    Cluster::new(&program::quorate(), 3, &[])
}

#[test]
fn a_member_whose_url_refuses_connections_serves_and_leads() {
    let mut cluster = cluster();
    let [port] = port::free();
    cluster.advertise(0, port);
    assert_serves(cluster);
}

#[test]
fn a_member_whose_url_never_answers_serves_and_leads() {
    let mut cluster = cluster();
    let (port, _listener) = silent();
    cluster.advertise(0, port);
    assert_serves(cluster);
}

#[test]
fn a_member_whose_url_drops_packets_serves_and_leads() {
    let mut cluster = cluster();
    let (port, _listener, _queue) = cluster.block_on(lost());
    cluster.advertise(0, port);
    assert_serves(cluster);
}

#[test]
fn one_of_two_members_needs_no_reachable_url() {
    let mut cluster = Cluster::new(&program::quorate(), 2, &[]);
    let [port] = port::free();
    cluster.advertise(0, port);
    cluster.start();
    for leader in [1, 0] {
        if cluster.leader().0 != leader {
            cluster.move_leader(leader);
        }
        serve(&cluster, &[0, 1], "two", RETURNS_WITHIN);
    }
    cluster.stop();
    cluster.start();
    serve(&cluster, &[0, 1], "again", RETURNS_WITHIN);
}

#[test]
fn an_added_member_needs_no_reachable_url() {
    let mut cluster = Cluster::start_new(&program::quorate(), 2, &[]);
    let [port] = port::free();
    let added = cluster.new_place();
    cluster.members[added].set_advertised_port(port);
    cluster.add_again(1, added);
    // Its first run ends before it has contacted the others.
    cluster.members[added].spawn();
    cluster.members[added].wait_until_it_listens();
    cluster.members[added].kill();
    cluster.start();
    serve(&cluster, &[0, 1, 2], "three", RETURNS_WITHIN);
    cluster.move_leader(added);
    cluster.members[0].kill();
    serve(&cluster, &[1, 2], "two of three", RETURNS_WITHIN);
}

#[test]
fn an_offered_connection_needs_a_certificate() {
    let mut cluster = Cluster::new_with_tls(&program::quorate(), 3, &[]);
    let [port] = port::free();
    cluster.advertise(0, port);
    cluster.start();
    serve(&cluster, &[0, 1, 2], "with certificates", RETURNS_WITHIN);
    cluster.members[0].stop();
    let pki = cluster.pki().unwrap();
    let elsewhere = [("cert", "elsewhere.crt"), ("key", "elsewhere.key")]
        .map(|(flag, file)| format!("--peer-{flag}-file={}", pki.path(file).display()));
    cluster.members[0].add_flags(&elsewhere.each_ref().map(String::as_str));
    cluster.members[0].spawn();
    await_log_of_others(&cluster, "rejected a connection");
    for _ in 0..ROUNDS {
        serve(&cluster, &[1, 2], "without it", SERVES_WITHIN);
    }
    assert_eq!(cluster.members[0].is_ready_now(), None, "it must not be let in");
}

/// The member's next byte over an offered connection; `None` if it sends none.
async fn next_word(connection: &mut TcpStream) -> Option<u8> {
    let word = tokio::time::timeout(Duration::from_millis(1500), connection.read_u8()).await;
    word.ok()?.ok()
}

#[test]
fn an_impostor_does_not_replace_a_member() {
    let mut cluster = cluster();
    let [port] = port::free();
    cluster.advertise(0, port);
    cluster.start();
    serve(&cluster, &[0, 1, 2], "at first", RETURNS_WITHIN);
    cluster.move_leader(1);
    let ids = [0, 2].map(|member| cluster.member_id(member));
    let url = cluster.members[1].peer_url();
    // In the name of the unreachable member, and of another one.
    let mut offered = Vec::new();
    for id in ids {
        let impostor = cluster.block_on(Impostor::new(&url, id));
        for number in 0..20 {
            let claim = impostor.claim();
            offered.extend(cluster.block_on(claim.offer(&url, number)).unwrap());
        }
        let wrong = crate::impostor::Claim { to: "1.1".to_owned(), ..impostor.claim() };
        assert_eq!(cluster.block_on(wrong.offer(&url, 1)).unwrap_err(), 403);
    }
    for round in 0..3 {
        serve(&cluster, &[0, 1, 2], &round.to_string(), SERVES_WITHIN);
        for connection in &mut offered {
            let asked = cluster.block_on(async {
                let asked = connection.read_u8().await;
                if asked.is_ok() {
                    connection.write_u8(0).await.unwrap();
                }
                asked
            });
            assert_ne!(asked.ok(), Some(1), "an impostor is called");
        }
    }
    // The member restarts after impostors have offered connections in its name.
    cluster.members[0].kill();
    serve(&cluster, &[1, 2], "without it", RETURNS_WITHIN);
    cluster.start();
    serve(&cluster, &[0, 1, 2], "with it", RETURNS_WITHIN * 2);
}

#[test]
fn no_answer_of_an_impostor_stops_a_member() {
    let mut cluster = cluster();
    let [port] = port::free();
    cluster.advertise(0, port);
    cluster.start();
    let id = cluster.member_id(0);
    cluster.move_leader(1);
    cluster.members[0].kill();
    let url = cluster.members[1].peer_url();
    let asked = cluster.block_on(async {
        let impostor = Impostor::new(&url, id).await;
        let mut connection = impostor.claim().offer(&url, 1).await.unwrap().unwrap();
        while let Some(0) = next_word(&mut connection).await {
            connection.write_u8(0).await.unwrap();
        }
        let mut calls = h2::server::handshake(connection).await.unwrap();
        let mut asked = 0;
        let answered = async {
            while let Some(Ok((_, mut answer))) = calls.accept().await {
                let refusal = http::Response::builder()
                    .header("content-type", "application/grpc")
                    .header("grpc-status", "7")
                    .header("grpc-message", "member 1 was removed from the cluster")
                    .header("quorate-exclusion", "removed");
                answer.send_response(refusal.body(()).unwrap(), true).unwrap();
                asked += 1;
            }
        };
        tokio::time::timeout(Duration::from_secs(3), answered).await.ok();
        asked
    });
    assert!(asked > 0, "no member called the impostor");
    serve(&cluster, &[1, 2], "unmoved", SERVES_WITHIN);
    cluster.start();
    serve(&cluster, &[0, 1, 2], "with it", RETURNS_WITHIN);
}

#[test]
fn a_member_is_called_at_its_url_once_it_is_reachable() {
    let mut cluster = cluster();
    let proxies = Proxies::new(&[cluster.members[0].peer_address()], 1);
    proxies.set(0, ProxyMode::Hold);
    cluster.advertise(0, proxies.port(0));
    cluster.start();
    serve(&cluster, &[0, 1, 2], "at first", RETURNS_WITHIN);
    await_log_of_others(&cluster, "called over its reverse connections");
    await_connections(&cluster);
    proxies.set(0, ProxyMode::Pass);
    await_log_of_others(&cluster, "connected to a member again");
    for _ in 0..ROUNDS {
        serve(&cluster, &[0, 1, 2], "at its URL", SERVES_WITHIN);
    }
    await_connections(&cluster);
}
