//! The attacking clients.
//!
//! Most use hand-made HTTP/2, because client libraries always read.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use bytes::Bytes;
use quorate_test_support::http2::{self, Call};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use super::Data;
use crate::client::message::{self, Rpc};
use crate::client::{self, Connection, Drivers};

/// How long a client waits before it gives up, and the same as a header.
const PATIENCE: Duration = Duration::from_millis(200);
const TIMEOUT: (&str, &str) = ("grpc-timeout", "200m");
/// Bytes of a large request, whose last byte is withheld.
const BODY_BYTES: usize = 1_400_000;
/// Bytes of a large header.
const HEADER_BYTES: usize = 60_000;

/// The behaviour of the clients of an attack.
#[derive(Clone, Copy, Debug)]
pub(super) enum Attack {
    /// On each of many connections: asks for a list and cancels the request, again and again.
    GivenUp { connections: u32 },
    /// On one connection: makes this many requests for all keys, and reads nothing.
    Answers { lists: u32 },
    /// Watches from the first revision on, and reads nothing.
    Watches { connections: u32, streams: u32, watchers: u32 },
    /// Sends a request except for its last byte.
    Bodies { connections: u32, requests: u32 },
    /// Sends large headers, and no bodies.
    Headers { connections: u32, requests: u32 },
}

impl Attack {
    fn connections(self) -> u32 {
        match self {
            Self::Answers { .. } => 1,
            Self::GivenUp { connections }
            | Self::Watches { connections, .. }
            | Self::Bodies { connections, .. }
            | Self::Headers { connections, .. } => connections,
        }
    }
}

/// Counts of an attack in progress.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// Requests handed to the connection.
    pub(super) sent: AtomicU64,
    /// Connections that failed to open or were closed, and requests that were refused. Clients that
    /// do not read miss refusals.
    pub(super) refused: AtomicU64,
}

/// An attack that runs until it is stopped.
pub(super) struct Running {
    pub(super) progress: Arc<Progress>,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<Result<()>>,
}

impl Running {
    /// Starts to attack the server at `address`, which holds `data`.
    pub(super) fn start(address: &str, attack: Attack, data: Data) -> Result<Self> {
        let progress = Arc::new(Progress::default());
        let (stop, stopped) = oneshot::channel();
        let party = Party { address: address.into(), attack, data, progress: progress.clone() };
        let thread = thread::Builder::new().name("attack".to_owned());
        let thread = thread.spawn(move || {
            client::run(async {
                let mut clients = JoinSet::new();
                let body = party.body();
                for _ in 0..attack.connections() {
                    clients.spawn(party.clone().attack(body.clone()));
                }
                // Stopped, or the sender was dropped.
                let _stopped = stopped.await;
                Ok(())
            })
        })?;
        Ok(Self { progress, stop, thread })
    }

    /// Stops the attack.
    ///
    /// # Errors
    /// If its thread panicked or its runtime could not be built.
    pub(super) fn stop(self) -> Result<()> {
        // The thread may have ended already.
        let _ended = self.stop.send(());
        self.thread.join().map_err(|_| anyhow!("the thread of the attack has panicked"))?
    }
}

/// State that all connections of an attack share.
#[derive(Clone)]
struct Party {
    address: Arc<str>,
    attack: Attack,
    data: Data,
    progress: Arc<Progress>,
}

impl Party {
    /// The body of each request; made once and shared.
    fn body(&self) -> Bytes {
        let Data { keys, .. } = self.data;
        match self.attack {
            Attack::GivenUp { .. } => message::framed(&message::newest_first(keys / 2)),
            Attack::Answers { .. } => message::framed(&message::list()),
            Attack::Watches { watchers, .. } => {
                let watch = message::framed(&message::watch(keys));
                watch.repeat(usize::try_from(watchers).unwrap_or(usize::MAX)).into()
            }
            Attack::Bodies { .. } => {
                let whole = message::framed(&message::put(0, &message::value(BODY_BYTES)));
                whole.slice(..whole.len() - 1)
            }
            Attack::Headers { .. } => Bytes::new(),
        }
    }

    /// Runs one connection.
    async fn attack(self, body: Bytes) {
        let outcome = match self.attack {
            Attack::GivenUp { .. } => self.give_up(&body).await,
            Attack::Answers { lists } => self.read_nothing(Rpc::Range, lists, &body, true).await,
            Attack::Watches { streams, .. } => {
                self.read_nothing(Rpc::Watch, streams, &body, false).await
            }
            Attack::Bodies { requests, .. } => self.withhold(requests, body).await,
            Attack::Headers { requests, .. } => self.send_headers(requests).await,
        };
        if outcome.is_err() {
            self.progress.refused.fetch_add(1, Ordering::Relaxed);
        }
    }

    async fn connect(&self) -> Result<TcpStream> {
        let mut socket = TcpStream::connect(&*self.address).await?;
        socket.set_nodelay(true)?;
        socket.write_all(&http2::greeting()).await?;
        Ok(socket)
    }

    fn has_sent_one(&self) {
        self.progress.sent.fetch_add(1, Ordering::Relaxed);
    }

    async fn give_up(&self, body: &[u8]) -> Result<()> {
        let call = Call { path: Rpc::Range.path(), metadata: &[TIMEOUT], body, is_ended: true };
        let mut socket = self.connect().await?;
        for number in 0.. {
            let deadline = Instant::now() + PATIENCE;
            socket.write_all(&call.bytes(number)).await?;
            self.has_sent_one();
            discard_until(deadline, &mut socket).await?;
            socket.write_all(&http2::cancellation(number)).await?;
        }
        Ok(())
    }

    /// Sends `calls` calls and keeps the connection open, without reading.
    async fn read_nothing(&self, rpc: Rpc, calls: u32, body: &[u8], is_ended: bool) -> Result<()> {
        let call = Call { path: rpc.path(), metadata: &[], body, is_ended };
        let mut socket = self.connect().await?;
        for number in 0..calls {
            socket.write_all(&call.bytes(number)).await?;
            self.has_sent_one();
        }
        std::future::pending().await
    }

    /// Sends large headers and keeps the connection open; discards all answers.
    async fn send_headers(&self, requests: u32) -> Result<()> {
        let value = "x".repeat(HEADER_BYTES);
        let metadata = [("large", value.as_str())];
        let call = Call { path: Rpc::Put.path(), metadata: &metadata, body: &[], is_ended: false };
        let (mut answers, mut requesting) = self.connect().await?.into_split();
        let mut reader = JoinSet::new();
        reader.spawn(async move { discard(&mut answers).await });
        for number in 0..requests {
            requesting.write_all(&call.bytes(number)).await?;
            self.has_sent_one();
        }
        reader.join_next().await.context("the reader runs")??
    }

    async fn withhold(&self, requests: u32, beginning: Bytes) -> Result<()> {
        let mut drivers = Drivers::new();
        let connection = Connection::open(&self.address, &mut drivers).await?;
        let mut open = JoinSet::new();
        for _ in 0..requests {
            let party = self.clone();
            let connection = connection.clone();
            let beginning = beginning.clone();
            open.spawn(async move {
                let taken = || party.has_sent_one();
                let answered = connection.withhold(Rpc::Put, beginning, taken).await;
                // Any answer before the request's end is a refusal.
                party.progress.refused.fetch_add(1, Ordering::Relaxed);
                answered
            });
        }
        open.join_all().await;
        Ok(())
    }
}

/// Reads and discards data until the server closes the connection.
async fn discard(answers: &mut (impl tokio::io::AsyncRead + Unpin)) -> Result<()> {
    let mut piece = vec![0; 256 << 10];
    while answers.read(&mut piece).await? > 0 {}
    Err(anyhow!("the server has closed the connection"))
}

/// Like [`discard`], until a deadline.
async fn discard_until(deadline: Instant, socket: &mut TcpStream) -> Result<()> {
    match timeout_at(deadline, discard(socket)).await {
        Ok(closed) => closed,
        Err(_is_over) => Ok(()),
    }
}
