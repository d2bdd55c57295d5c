//! A pool of new clusters for a program that runs tests one after the other.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use quorate_test_support::follower_cluster::FollowerCluster;

/// Clusters that are started in advance, at the same time. A start is mostly waiting.
const STARTERS: usize = 2;

/// Starts clusters in advance and serves their URLs over TCP.
#[derive(Debug)]
pub struct ClusterPool<F> {
    start: F,
    killed_every: Option<Duration>,
}

/// Stops the accepting thread on drop, also during a panic.
struct StopOnDrop<'a> {
    address: SocketAddr,
    is_stopped: &'a AtomicBool,
}

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.is_stopped.store(true, Ordering::Release);
        // Wakes the accepting thread; an error means that it has already ended.
        let _woken = TcpStream::connect(self.address);
    }
}

impl<F: Fn() -> FollowerCluster + Sync> ClusterPool<F> {
    /// A pool of clusters that `start` starts. If `killed_every` is given, a follower of each
    /// cluster in use is killed at that interval.
    pub fn new(start: F, killed_every: Option<Duration>) -> Self {
        Self { start, killed_every }
    }

    /// Runs `clients` with the address of the pool. Each connection to it receives one line, the
    /// URL of a cluster of its own, and keeps the cluster until the connection is closed.
    ///
    /// # Panics
    /// If a cluster does not start or fails its final check; see [`FollowerCluster::finish`].
    pub fn serve(&self, clients: impl FnOnce(&str)) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let is_stopped = AtomicBool::new(false);
        // Unbuffered: each starter holds one cluster until it is taken.
        let (started, clusters) = mpsc::sync_channel(0);
        thread::scope(|scope| {
            for _ in 0..STARTERS {
                let started = started.clone();
                let start = &self.start;
                scope.spawn(move || while started.send(start()).is_ok() {});
            }
            drop(started);
            let stop = StopOnDrop { address, is_stopped: &is_stopped };
            let is_stopped = &is_stopped;
            let killed_every = self.killed_every;
            scope.spawn(move || accept(&listener, is_stopped, &clusters, killed_every));
            clients(&address.to_string());
            drop(stop);
        });
    }
}

fn accept(
    listener: &TcpListener,
    is_stopped: &AtomicBool,
    clusters: &Receiver<FollowerCluster>,
    killed_every: Option<Duration>,
) {
    thread::scope(|scope| {
        for client in listener.incoming() {
            if is_stopped.load(Ordering::Acquire) {
                return;
            }
            let client = client.expect("the listener works");
            let cluster = clusters.recv().expect("the next one is started");
            scope.spawn(move || assign(client, cluster.with_kills(killed_every)));
        }
    });
}

/// Sends the cluster's URL to the client, and ends the cluster when the client closes.
fn assign(mut client: TcpStream, cluster: FollowerCluster) {
    writeln!(client, "{}", cluster.url()).expect("the client reads");
    // Returns when the client closes the connection.
    let _end = client.read(&mut [0]);
    cluster.finish();
}
