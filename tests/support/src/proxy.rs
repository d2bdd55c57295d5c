//! Proxies that can delay, hold or lose data, in front of the members' peer ports.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Maximum number of bytes that are forwarded, held or dropped as one piece.
const PIECE_BYTES: usize = 16 << 10;

/// Maximum number of pieces queued in one direction of a connection.
const PIECES_MAX: usize = 256;

/// How a proxy treats the data in both directions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ProxyMode {
    /// Forwards everything.
    Pass,
    /// Delays each piece by a random time between these two; pieces stay in order.
    Delay(Duration, Duration),
    /// Limits each direction of a connection to this many bytes per second.
    Slow(u32),
    /// Drops this share of the pieces, which corrupts the byte stream.
    Lose(f64),
    /// Holds everything back; connections stay open.
    Hold,
}

/// One proxy for each target. Dropping this value stops them.
#[derive(Debug)]
pub struct Proxies {
    modes: Vec<watch::Sender<ProxyMode>>,
    ports: Vec<u16>,
    affected: Arc<AtomicU64>,
    _runtime: Runtime,
}

impl Proxies {
    /// Proxies on the loopback interface for `targets`, each a `host:port`. `seed` and the order of
    /// connections determine the random choices of the proxies.
    ///
    /// # Panics
    /// If a thread or a port is not available.
    pub fn new(targets: &[String], seed: u64) -> Self {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(1).enable_all().build().expect("a runtime");
        let mut modes = Vec::new();
        let mut ports = Vec::new();
        let affected = Arc::<AtomicU64>::default();
        for (target, number) in targets.iter().zip(0..) {
            let (mode, receiver) = watch::channel(ProxyMode::Pass);
            let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
            let listener = runtime.block_on(TcpListener::bind(any)).expect("a port is free");
            ports.push(listener.local_addr().expect("it is bound").port());
            modes.push(mode);
            let rng = StdRng::seed_from_u64(seed.wrapping_add(number));
            let link = Link { mode: receiver, affected: affected.clone() };
            runtime.spawn(serve(listener, target.clone(), link, rng));
        }
        Self { modes, ports, affected, _runtime: runtime }
    }

    /// The port of the proxy for target `i`.
    pub fn port(&self, i: usize) -> u16 {
        self.ports[i]
    }

    /// Changes the mode of the proxy for target `i`, from the next piece on.
    pub fn set(&self, i: usize, mode: ProxyMode) {
        self.modes[i].send_replace(mode);
    }

    /// Pieces that arrived so far while the mode was not [`ProxyMode::Pass`].
    pub fn affected(&self) -> u64 {
        self.affected.load(Ordering::SeqCst)
    }
}

/// State that all connections of a proxy share.
#[derive(Clone)]
struct Link {
    mode: watch::Receiver<ProxyMode>,
    affected: Arc<AtomicU64>,
}

impl Link {
    /// The mode for a piece that has arrived; waits while it is [`ProxyMode::Hold`].
    async fn mode(&mut self) -> Option<ProxyMode> {
        if *self.mode.borrow() != ProxyMode::Pass {
            self.affected.fetch_add(1, Ordering::SeqCst);
        }
        let goes_on = self.mode.wait_for(|mode| *mode != ProxyMode::Hold).await;
        goes_on.map(|mode| *mode).ok()
    }
}

async fn serve(listener: TcpListener, target: String, link: Link, mut rng: StdRng) {
    // Connections end with the proxy.
    let mut connections = JoinSet::new();
    loop {
        let Ok((near, _)) = listener.accept().await else { return };
        let rngs = [(); 2].map(|()| StdRng::seed_from_u64(rng.random()));
        connections.spawn(connect(near, target.clone(), link.clone(), rngs));
        while connections.try_join_next().is_some() {}
    }
}

async fn connect(near: TcpStream, target: String, link: Link, [there, back]: [StdRng; 2]) {
    // If the target does not listen, the connection is closed: the nearest thing to a connection
    // that the system refuses.
    let Ok(far) = TcpStream::connect(&target).await else { return };
    let [one, other] = [&near, &far].map(|stream| stream.set_nodelay(true));
    one.and(other).expect("a socket accepts TCP_NODELAY");
    let ((near_read, near_write), (far_read, far_write)) = (near.into_split(), far.into_split());
    // When one direction ends, the connection ends.
    tokio::select! {
        () = forward(near_read, far_write, link.clone(), there) => {}
        () = forward(far_read, near_write, link, back) => {}
    }
}

async fn forward(from: OwnedReadHalf, to: OwnedWriteHalf, link: Link, rng: StdRng) {
    let (sender, receiver) = mpsc::channel(PIECES_MAX);
    tokio::select! {
        () = receive(from, link, rng, sender) => {}
        () = deliver(receiver, to) => {}
    }
}

/// Reads pieces and queues each with the time at which it is due.
async fn receive(
    mut from: OwnedReadHalf,
    mut link: Link,
    mut rng: StdRng,
    pieces: mpsc::Sender<(Instant, Vec<u8>)>,
) {
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let Ok(read @ 1..) = from.read(&mut piece).await else { return };
        let Some(mode) = link.mode().await else { return };
        let delay = match mode {
            ProxyMode::Lose(share) if rng.random_bool(share) => continue,
            ProxyMode::Delay(least, most) => rng.random_range(least..=most),
            ProxyMode::Slow(rate) => {
                // Reads nothing else until then, so that the limit slows the sender down.
                tokio::time::sleep(Duration::from_secs_f64(read as f64 / f64::from(rate))).await;
                Duration::ZERO
            }
            ProxyMode::Pass | ProxyMode::Lose(_) | ProxyMode::Hold => Duration::ZERO,
        };
        let due = Instant::now() + delay;
        if pieces.send((due, piece[..read].to_vec())).await.is_err() {
            return;
        }
    }
}

async fn deliver(mut pieces: mpsc::Receiver<(Instant, Vec<u8>)>, mut to: OwnedWriteHalf) {
    while let Some((due, piece)) = pieces.recv().await {
        tokio::time::sleep_until(due).await;
        if to.write_all(&piece).await.is_err() {
            return;
        }
    }
}
