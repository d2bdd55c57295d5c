//! Reverse connections, on the side that opens them: this member offers connections to the other
//! members, which may not be able to connect to this one.
//!
//! Each of them always has one idle connection that it can take. This member answers calls over it
//! as if the other member had opened it.

use std::any::Any;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncReadExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use super::describe::describe;
use super::peer_pool::PeerPool;
use super::reverse_pool::{PING, PING_INTERVAL, PONG_TIMEOUT, TAKE, send_byte};
use super::{REVERSE_PROTOCOL, header};
use crate::ground::connection::{Connection, ServeReverse};
use crate::ground::consensus::BoxFuture;

/// First and longest pause after a failed offer; the pause doubles each time.
const PAUSE: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// Pause if no server at the URLs knows the protocol, as in an earlier build.
const PAUSE_UNKNOWN: Duration = Duration::from_secs(30);
/// Maximum number of connections offered to one member at a time. It needs one for each kind of
/// call. A connection that broke unnoticed counts until the operating system reports it.
const OFFERED_MAX: usize = 12;
/// Maximum number of connections offered to all members: they are among the files that the program
/// keeps for itself.
const ALL_OFFERED_MAX: usize = 64;
/// A member gets at most `OFFERED_MAX` connections in this time, however fast it ends them.
const RATE_WINDOW: Duration = Duration::from_secs(4);
/// Interval of describe requests while this member is not in its own log.
const DESCRIBE_INTERVAL: Duration = Duration::from_secs(2);

/// Drives an HTTP/1.1 connection.
type Driver = BoxFuture<'static, hyper::Result<()>>;
/// The peer URLs of members, by id.
type Urls = BTreeMap<u64, Vec<String>>;

/// Offers connections to all other members, until the future is dropped or the member stops. While
/// this member is not in its own log, it asks the servers at `known_urls` for the members.
pub(crate) async fn offer_connections(
    pool: Arc<PeerPool>,
    server: Arc<dyn ServeReverse>,
    known_urls: Vec<String>,
    tasks: TaskTracker,
) {
    let permits = Arc::new(Semaphore::new(ALL_OFFERED_MAX));
    let initiator = Offers { pool: pool.clone(), server, number: rand::random(), permits };
    let initiator = Arc::new(initiator);
    let me = pool.identity().member_id;
    let mut members = pool.members();
    let mut acceptors: BTreeMap<u64, Acceptor> = BTreeMap::new();
    loop {
        let known = members.borrow_and_update().clone();
        let is_member = known.contains_key(&me) || known_urls.is_empty();
        let described = if is_member { Urls::new() } else { ask_members(&pool, &known_urls).await };
        let known = known.into_iter().map(|(id, (peer, _))| (id, peer.peer_urls));
        let mut all: Urls = described.into_iter().chain(known).collect();
        all.remove(&me);
        acceptors.retain(|id, _| all.contains_key(id));
        for (id, urls) in all {
            let permits = match acceptors.get(&id) {
                Some(acceptor) if acceptor.urls == urls => continue,
                // Connections offered at its former URLs count.
                Some(acceptor) => acceptor.permits.clone(),
                None => Arc::new(Semaphore::new(OFFERED_MAX)),
            };
            let offers = initiator.clone().offer_to(id, urls.clone(), permits.clone());
            let task = AbortOnDropHandle::new(tasks.spawn(offers));
            acceptors.insert(id, Acceptor { urls, permits, _task: task });
        }
        tokio::select! {
            changed = members.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(DESCRIBE_INTERVAL), if !is_member => {}
        }
    }
}

/// The members, as the servers of this cluster at these URLs describe them.
async fn ask_members(pool: &PeerPool, known_urls: &[String]) -> Urls {
    let within = pool.dial_timeout();
    let asked = known_urls.iter().map(async |url| {
        let description = describe(pool.dialer().clone(), url, within).await.ok()?;
        let is_ours = description.cluster_id == pool.identity().cluster_id;
        is_ours.then_some((description, url))
    });
    let mut found = Urls::new();
    for (description, url) in futures_util::future::join_all(asked).await.into_iter().flatten() {
        let members = description.members.into_iter();
        found.extend(members.map(|member| (member.id, member.peer_urls)));
        found.entry(description.member_id).or_insert_with(|| vec![url.clone()]);
    }
    found
}

/// A member to which connections are offered.
struct Acceptor {
    urls: Vec<String>,
    /// Permits for its connections.
    permits: Arc<Semaphore>,
    _task: AbortOnDropHandle<()>,
}

/// When a member took its last `OFFERED_MAX` connections.
#[derive(Default)]
struct TakeTimes(VecDeque<Instant>);

impl TakeTimes {
    /// Records that a connection was taken.
    fn record(&mut self) {
        if self.0.len() >= OFFERED_MAX {
            self.0.pop_front();
        }
        self.0.push_back(Instant::now());
    }

    /// Waits until the member may take another connection.
    async fn wait(&self) {
        if self.0.len() >= OFFERED_MAX
            && let Some(first) = self.0.front()
        {
            tokio::time::sleep(RATE_WINDOW.saturating_sub(first.elapsed())).await;
        }
    }
}

/// Outcome of an offer.
enum Offered {
    /// The member took the connection.
    Taken,
    /// The connection was idle until it was lost.
    Lost,
    /// The server does not know the protocol.
    Unknown,
}

/// Offers connections to members.
struct Offers {
    pool: Arc<PeerPool>,
    server: Arc<dyn ServeReverse>,
    /// Identifies this process among all initiators in the name of this member.
    number: u64,
    /// Permits for the connections of all members.
    permits: Arc<Semaphore>,
}

impl Offers {
    /// Offers connections to one member, one after the other. The server at its URLs may take each
    /// at once, so their number and rate are limited.
    async fn offer_to(self: Arc<Self>, member: u64, urls: Vec<String>, permits: Arc<Semaphore>) {
        let mut pause = PAUSE;
        let mut taken = TakeTimes::default();
        loop {
            let mut is_unknown = true;
            for url in &urls {
                while self.server.admits(url) {
                    taken.wait().await;
                    let held = [permit(&permits).await, permit(&self.permits).await];
                    let begun = Instant::now();
                    let offered = self.offer_one(member, url, Box::new(held)).await;
                    is_unknown &= matches!(offered, Ok(Offered::Unknown));
                    match offered {
                        Ok(Offered::Taken) => {
                            pause = PAUSE;
                            taken.record();
                        }
                        Ok(Offered::Lost) if begun.elapsed() > PING_INTERVAL => pause = PAUSE,
                        Ok(Offered::Lost | Offered::Unknown) => break,
                        Err(error) => {
                            tracing::debug!(%error, url, "cannot offer a reverse connection");
                            break;
                        }
                    }
                }
            }
            if is_unknown {
                tokio::time::sleep(PAUSE_UNKNOWN).await;
            } else {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSE_MAX);
            }
        }
    }

    /// Offers one connection, and serves it once it is taken. `held` is dropped when the connection
    /// ends.
    async fn offer_one(
        &self,
        member: u64,
        url: &str,
        held: Box<dyn Any + Send>,
    ) -> io::Result<Offered> {
        let opened = tokio::time::timeout(self.pool.dial_timeout(), self.open(member, url));
        let opened = opened.await.unwrap_or_else(|late| Err(io::Error::other(late)));
        let Some(mut connection) = opened? else { return Ok(Offered::Unknown) };
        let longest = PING_INTERVAL + PONG_TIMEOUT;
        while let Ok(Ok(byte)) = tokio::time::timeout(longest, connection.read_u8()).await {
            match byte {
                PING if send_byte(&mut connection, PING).await.is_ok() => {}
                TAKE => {
                    self.server.serve(connection, held);
                    return Ok(Offered::Taken);
                }
                _ => break,
            }
        }
        Ok(Offered::Lost)
    }

    /// Opens a connection and offers it; `None` if the server does not know the protocol.
    async fn open(&self, member: u64, url: &str) -> io::Result<Option<Box<dyn Connection>>> {
        let connection = self.pool.dialer().dial(url.to_owned()).await?;
        let (mut sender, driver) =
            http1::handshake(TokioIo::new(connection)).await.map_err(io::Error::other)?;
        let mut driver: Driver = Box::pin(driver.with_upgrades());
        let mut request = http::Request::new(tonic::body::Body::empty());
        *request.headers_mut() = self.pool.headers(member);
        for (name, value) in [
            (http::header::HOST, "member.invalid"),
            (http::header::CONNECTION, "upgrade"),
            (http::header::UPGRADE, REVERSE_PROTOCOL),
        ] {
            request.headers_mut().insert(name, http::HeaderValue::from_static(value));
        }
        let number = format!("{:x}", self.number).parse().map_err(io::Error::other)?;
        request.headers_mut().insert(header::INITIATOR, number);
        let answered = driven(&mut driver, sender.send_request(request)).await;
        let answer = answered.map_err(io::Error::other)?;
        match answer.status() {
            http::StatusCode::SWITCHING_PROTOCOLS => {}
            // Only a server that knows the protocol answers so.
            http::StatusCode::FORBIDDEN => return Err(io::Error::other("the offer was refused")),
            _ => return Ok(None),
        }
        let upgraded = driven(&mut driver, hyper::upgrade::on(answer)).await;
        Ok(Some(Box::new(TokioIo::new(upgraded.map_err(io::Error::other)?))))
    }
}

/// Waits for a permit.
async fn permit(permits: &Arc<Semaphore>) -> OwnedSemaphorePermit {
    permits.clone().acquire_owned().await.expect("this semaphore is never closed")
}

/// Awaits `wanted` while it polls `driver`, which may end first.
async fn driven<T>(driver: &mut Driver, wanted: impl Future<Output = T>) -> T {
    let mut wanted = pin!(wanted);
    tokio::select! {
        biased;
        got = &mut wanted => got,
        _ = driver => wanted.await,
    }
}
