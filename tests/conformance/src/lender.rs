//! Lends new clusters to a program that runs tests one after the other.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use quorate_test_support::by_follower::ByFollower;

/// Clusters that are started in advance, at the same time. A start is mostly waiting.
const STARTERS: usize = 2;

/// Ends the lending on drop, also during a panic.
struct Open<'a> {
    address: SocketAddr,
    is_over: &'a AtomicBool,
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Release);
        // Wakes the accepting thread; an error means that it has already ended.
        let _woken = TcpStream::connect(self.address);
    }
}

/// Runs `borrowers` with an address. Each connection to it receives one line, the URL of a cluster
/// of its own, and keeps the cluster until the connection is closed. If `killed_every` is given, a
/// follower is killed at that interval.
///
/// # Panics
/// If a cluster does not start or fails its final check; see [`ByFollower::finish`].
pub fn lend(
    start: impl Fn() -> ByFollower + Sync,
    killed_every: Option<Duration>,
    borrowers: impl FnOnce(&str),
) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    let is_over = AtomicBool::new(false);
    // Unbuffered: each starter holds one cluster until it is taken.
    let (started, clusters) = mpsc::sync_channel(0);
    thread::scope(|scope| {
        for _ in 0..STARTERS {
            let (started, start) = (started.clone(), &start);
            scope.spawn(move || while started.send(start()).is_ok() {});
        }
        drop(started);
        let open = Open { address, is_over: &is_over };
        let is_over = &is_over;
        scope.spawn(move || serve(&listener, is_over, &clusters, killed_every));
        borrowers(&address.to_string());
        drop(open);
    });
}

fn serve(
    listener: &TcpListener,
    is_over: &AtomicBool,
    clusters: &Receiver<ByFollower>,
    killed_every: Option<Duration>,
) {
    thread::scope(|scope| {
        for caller in listener.incoming() {
            if is_over.load(Ordering::Acquire) {
                return;
            }
            let caller = caller.expect("it is one of the borrowers");
            let cluster = clusters.recv().expect("the next one is started");
            scope.spawn(move || hold(caller, cluster.killed(killed_every)));
        }
    });
}

/// Tells the caller the cluster's URL, and ends the cluster when the caller is done.
fn hold(mut caller: TcpStream, cluster: ByFollower) {
    writeln!(caller, "{}", cluster.url()).expect("the caller listens");
    // Returns when the caller closes the connection.
    let _end = caller.read(&mut [0]);
    cluster.finish();
}
