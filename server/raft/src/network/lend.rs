//! Lends connections to the other members, which may have no other way to reach this one.
//!
//! Each of them always has one connection that it can take. This member answers calls over it as if
//! the other member had opened it.

use std::any::Any;
use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
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
use super::links::Links;
use super::loans::{KEPT, SAID_EVERY, SAID_WITHIN, TAKEN, say};
use super::{LENDING, header};
use crate::ground::connection::{Connection, Serve};
use crate::ground::consensus::BoxFuture;

/// First pause after a failure to lend a connection; doubled each time.
const PAUSE: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// Pause if no server at the URLs knows the protocol, as in an earlier build.
const PAUSE_UNKNOWN: Duration = Duration::from_secs(30);
/// Most connections lent to one member at a time. It needs one for each kind of call. A connection
/// that broke unnoticed counts until the operating system reports it.
const LENT_MAX: usize = 12;
/// Most connections lent to all members: they are among the files that the program keeps for
/// itself.
const ALL_LENT_MAX: usize = 64;
/// A member gets at most `LENT_MAX` connections in this time, however fast it ends them.
const LENT_WITHIN: Duration = Duration::from_secs(4);
/// Interval of describe requests while this member is not in its own log.
const ASK_EVERY: Duration = Duration::from_secs(2);

/// Drives an HTTP/1.1 connection.
type Driver = BoxFuture<'static, hyper::Result<()>>;
type Urls = BTreeMap<u64, Vec<String>>;

/// Lends connections to all other members, until the future is dropped or the member stops. While
/// this member is not in its own log, it asks the servers at `acquaintances` for the members.
pub(crate) async fn lend(
    links: Arc<Links>,
    serve: Arc<dyn Serve>,
    acquaintances: Vec<String>,
    tasks: TaskTracker,
) {
    let places = Arc::new(Semaphore::new(ALL_LENT_MAX));
    let lender = Arc::new(Lending { links: links.clone(), serve, number: rand::random(), places });
    let (me, mut peers) = (links.identity().member_id, links.peers());
    let mut borrowers: BTreeMap<u64, Borrower> = BTreeMap::new();
    loop {
        let known = peers.borrow_and_update().clone();
        let is_member = known.contains_key(&me) || acquaintances.is_empty();
        let met = if is_member { Urls::new() } else { meet(&links, &acquaintances).await };
        let known = known.into_iter().map(|(id, (peer, _))| (id, peer.peer_urls));
        let mut all: Urls = met.into_iter().chain(known).collect();
        all.remove(&me);
        borrowers.retain(|id, _| all.contains_key(id));
        for (id, urls) in all {
            let places = match borrowers.get(&id) {
                Some(borrower) if borrower.urls == urls => continue,
                // Connections lent at its former URLs count.
                Some(borrower) => borrower.places.clone(),
                None => Arc::new(Semaphore::new(LENT_MAX)),
            };
            let lending = lender.clone().lend_to(id, urls.clone(), places.clone());
            let task = AbortOnDropHandle::new(tasks.spawn(lending));
            borrowers.insert(id, Borrower { urls, places, _task: task });
        }
        let again = async {
            match is_member {
                true => std::future::pending().await,
                false => tokio::time::sleep(ASK_EVERY).await,
            }
        };
        tokio::select! {
            changed = peers.changed() => if changed.is_err() { return },
            () = again => {}
        }
    }
}

/// The members, as the servers of this cluster at these URLs describe them.
async fn meet(links: &Links, acquaintances: &[String]) -> Urls {
    let within = links.patience().1;
    let asked = acquaintances.iter().map(async |url| {
        let said = describe(links.dialer().clone(), url, within).await.ok()?;
        (said.cluster_id == links.identity().cluster_id).then_some((said, url))
    });
    let mut met = Urls::new();
    for (said, url) in futures_util::future::join_all(asked).await.into_iter().flatten() {
        met.extend(said.members.into_iter().map(|member| (member.id, member.peer_urls)));
        met.entry(said.member_id).or_insert_with(|| vec![url.clone()]);
    }
    met
}

/// A member to which connections are lent.
struct Borrower {
    urls: Vec<String>,
    /// Permits for its connections.
    places: Arc<Semaphore>,
    _task: AbortOnDropHandle<()>,
}

/// When a member took its last `LENT_MAX` connections.
#[derive(Default)]
struct Pace(VecDeque<Instant>);

impl Pace {
    /// Notes that a connection was taken.
    fn note(&mut self) {
        if self.0.len() >= LENT_MAX {
            self.0.pop_front();
        }
        self.0.push_back(Instant::now());
    }

    /// Waits until the member may take another connection.
    async fn wait(&self) {
        if self.0.len() >= LENT_MAX
            && let Some(first) = self.0.front()
        {
            tokio::time::sleep(LENT_WITHIN.saturating_sub(first.elapsed())).await;
        }
    }
}

/// Outcome of lending a connection.
enum Lent {
    /// The member took it.
    Taken,
    /// It was kept and then lost.
    Lost,
    /// The server does not know the protocol.
    Unknown,
}

struct Lending {
    links: Arc<Links>,
    serve: Arc<dyn Serve>,
    /// Identifies this process among all that lend in the name of this member.
    number: u64,
    /// Permits for the connections of all members.
    places: Arc<Semaphore>,
}

impl Lending {
    /// Lends connections to one member, one after the other. The server at its URLs may take each
    /// at once, so their number and rate are limited.
    async fn lend_to(self: Arc<Self>, member: u64, urls: Vec<String>, places: Arc<Semaphore>) {
        let (mut pause, mut pace) = (PAUSE, Pace::default());
        loop {
            let mut unknown = true;
            for url in &urls {
                while self.serve.admits(url) {
                    pace.wait().await;
                    let held = [place(&places).await, place(&self.places).await];
                    let begun = Instant::now();
                    let lent = self.lend_one(member, url, Box::new(held)).await;
                    unknown &= matches!(lent, Ok(Lent::Unknown));
                    match lent {
                        Ok(Lent::Taken) => {
                            pause = PAUSE;
                            pace.note();
                        }
                        Ok(Lent::Lost) if begun.elapsed() > SAID_EVERY => pause = PAUSE,
                        Ok(Lent::Lost | Lent::Unknown) => break,
                        Err(error) => {
                            tracing::debug!(%error, url, "cannot lend a connection");
                            break;
                        }
                    }
                }
            }
            if unknown {
                tokio::time::sleep(PAUSE_UNKNOWN).await;
            } else {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSE_MAX);
            }
        }
    }

    /// Lends one connection, and serves it once it is taken. `held` is dropped when the connection
    /// ends.
    async fn lend_one(
        &self,
        member: u64,
        url: &str,
        held: Box<dyn Any + Send>,
    ) -> io::Result<Lent> {
        let offered = tokio::time::timeout(self.links.patience().1, self.offer(member, url));
        let offered = offered.await.unwrap_or_else(|late| Err(io::Error::other(late)));
        let Some(mut connection) = offered? else { return Ok(Lent::Unknown) };
        let longest = SAID_EVERY + SAID_WITHIN;
        while let Ok(Ok(word)) = tokio::time::timeout(longest, connection.read_u8()).await {
            match word {
                KEPT if say(&mut connection, KEPT).await.is_ok() => {}
                TAKEN => {
                    self.serve.serve(connection, held);
                    return Ok(Lent::Taken);
                }
                _ => break,
            }
        }
        Ok(Lent::Lost)
    }

    /// Opens a connection and offers it; `None` if the server does not know the protocol.
    async fn offer(&self, member: u64, url: &str) -> io::Result<Option<Box<dyn Connection>>> {
        let connection = self.links.dialer().dial(url.to_owned()).await?;
        let (mut sender, driver) =
            http1::handshake(TokioIo::new(connection)).await.map_err(io::Error::other)?;
        let mut driver: Driver = Box::pin(driver.with_upgrades());
        let mut request = http::Request::new(tonic::body::Body::empty());
        *request.headers_mut() = self.links.headers(member);
        for (name, value) in [
            (http::header::HOST, "member.invalid"),
            (http::header::CONNECTION, "upgrade"),
            (http::header::UPGRADE, LENDING),
        ] {
            request.headers_mut().insert(name, http::HeaderValue::from_static(value));
        }
        let number = format!("{:x}", self.number).parse().map_err(io::Error::other)?;
        request.headers_mut().insert(header::LENDER, number);
        let answered = beside(&mut driver, sender.send_request(request)).await;
        let answer = answered.map_err(io::Error::other)?;
        match answer.status() {
            http::StatusCode::SWITCHING_PROTOCOLS => {}
            // Only a server that knows the protocol answers so.
            http::StatusCode::FORBIDDEN => return Err(io::Error::other("it is refused")),
            _ => return Ok(None),
        }
        let upgraded = beside(&mut driver, hyper::upgrade::on(answer)).await;
        Ok(Some(Box::new(TokioIo::new(upgraded.map_err(io::Error::other)?))))
    }
}

/// Waits for a permit.
async fn place(places: &Arc<Semaphore>) -> OwnedSemaphorePermit {
    places.clone().acquire_owned().await.expect("these places are never closed")
}

/// Awaits `wanted` and polls `driver` meanwhile, which may end first.
async fn beside<T>(driver: &mut Driver, wanted: impl Future<Output = T>) -> T {
    let mut wanted = pin!(wanted);
    tokio::select! {
        biased;
        got = &mut wanted => got,
        _ = driver => wanted.await,
    }
}
