//! New clusters for a program that runs tests one after the other.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use quorate_test_support::by_follower::ByFollower;

/// Clusters that are started at the same time, before somebody asks for them. Starting one is
/// mostly waiting.
const STARTERS: usize = 2;

/// Ends the lending when it is dropped, also by a panic.
struct Open<'a> {
    address: SocketAddr,
    is_over: &'a AtomicBool,
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Release);
        // Wakes who waits for callers; an error means that it has ended already.
        let _woken = TcpStream::connect(self.address);
    }
}

/// Runs `borrowers`, who are told an address. Whoever connects there is told the URL of a cluster
/// that nobody else has, in a line, and has it until the connection is closed. A follower is killed
/// as often as that is given.
///
/// # Panics
/// When a cluster does not start, or did not behave; see [`ByFollower::finish`].
pub fn lend(
    start: impl Fn() -> ByFollower + Sync,
    killed_every: Option<Duration>,
    borrowers: impl FnOnce(&str),
) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    let is_over = AtomicBool::new(false);
    // Each starter keeps one until it is taken.
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

/// Tells the caller of the cluster, and ends it when the caller is done.
fn hold(mut caller: TcpStream, cluster: ByFollower) {
    writeln!(caller, "{}", cluster.url()).expect("the caller listens");
    // Nothing comes, and then the end.
    let _end = caller.read(&mut [0]);
    cluster.finish();
}
