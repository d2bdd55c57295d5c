//! Sends snapshots: the whole state, for a member that lags too far behind.
//!
//! The sender reads parts of one image of its database, which later writes do not change. After a
//! broken connection, the sender asks which parts the receiver has, and continues there. The
//! receiver builds a new database next to the current one, and switches to the new one when it is
//! complete.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use openraft::AnyError;
use openraft::errors::{NetworkError, ReplicationClosed, StreamingError, Unreachable};
use openraft::raft::SnapshotResponse;
use quorate_proto::peer as pb;
use quorate_storage::db::image::{Image, Parts};
use quorate_storage::db::part::PartPosition;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tonic::Status;

use super::calls::Client;
use super::codec;
use crate::budget::{Account, Permit};
use crate::log::encoding::encode_membership;
use crate::log::snapshot::SnapshotHandle;
use crate::log::types::{TypeConfig, Vote};

type Snapshot = openraft::alias::SnapshotOf<TypeConfig, SnapshotHandle>;
type SnapshotMeta = openraft::alias::SnapshotMetaOf<TypeConfig>;
type SendError = StreamingError<TypeConfig>;

/// Maximum bytes of a snapshot per second: the log needs bandwidth too.
const BYTES_PER_SECOND_MAX: u64 = 100 << 20;
/// Maximum number of parts that are read and wait to be sent.
const PARTS_AHEAD_MAX: usize = 4;
/// How long to retry without progress once the receiver has been reached. The receiver keeps its
/// parts during that time, and the sender keeps the image for the whole transfer.
const GIVE_UP_AFTER: Duration = Duration::from_secs(30);
/// Time limit for the receiver to read more, and in the end to install the snapshot.
const REPLY_TIMEOUT: Duration = Duration::from_secs(60);
/// Pause before the first retry. It doubles with each retry, up to [`RETRY_PAUSE_MAX`].
const RETRY_PAUSE: Duration = Duration::from_millis(200);
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(3);

/// Sends a snapshot. Its parts are charged to `account` while they are in memory.
///
/// # Errors
/// `Closed` once `cancel` completes, `Unreachable` if the receiver cannot be reached or makes no
/// progress.
pub(crate) async fn send(
    client: Client,
    vote: Vote,
    snapshot: Snapshot,
    account: Account,
    cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
) -> Result<SnapshotResponse<TypeConfig>, SendError> {
    let SnapshotHandle::Image(image) = snapshot.snapshot else {
        return Err(failed(&AnyError::error("a received snapshot cannot be sent")));
    };
    let head = head_of(&vote, &snapshot.meta, &image);
    tokio::select! {
        closed = cancel => Err(StreamingError::Closed(closed)),
        sent = send_with_retries(client, head, image, account) => sent,
    }
}

fn failed(error: &AnyError) -> SendError {
    StreamingError::Network(NetworkError::new(error))
}

fn head_of(vote: &Vote, meta: &SnapshotMeta, image: &Image) -> pb::SnapshotHead {
    pb::SnapshotHead {
        vote: Some(codec::vote_to_wire(vote)),
        last: meta.last_log_id.as_ref().map(codec::id_to_wire),
        membership: encode_membership(&meta.last_membership),
        id: image.id(),
        bytes: image.bytes().unwrap_or(0),
    }
}

/// State of the attempts to send one snapshot.
struct Attempts {
    /// Highest number of parts that the receiver had; `None` before it was reached.
    reached: Option<u64>,
    /// Time of the first failure since the last progress.
    failing: Option<Instant>,
    pause: Duration,
}

impl Attempts {
    fn new() -> Self {
        Self { reached: None, failing: None, pause: RETRY_PAUSE }
    }

    fn reached(&mut self, parts: u64) {
        if self.reached < Some(parts) {
            *self = Self { reached: Some(parts), ..Self::new() };
        }
    }

    /// Notes a failure. Returns the pause before the next attempt; `None` means to give up.
    fn failed(&mut self) -> Option<Duration> {
        let since = *self.failing.get_or_insert_with(Instant::now);
        let may_retry = self.reached.is_some() && since.elapsed() < GIVE_UP_AFTER;
        let next = (2 * self.pause).min(RETRY_PAUSE_MAX);
        may_retry.then(|| std::mem::replace(&mut self.pause, next))
    }
}

/// Sends until the snapshot has arrived, over several connections if necessary.
async fn send_with_retries(
    mut client: Client,
    head: pb::SnapshotHead,
    image: Image,
    account: Account,
) -> Result<SnapshotResponse<TypeConfig>, SendError> {
    let mut attempts = Attempts::new();
    loop {
        let error = match attempt(&mut client, &head, &image, &account, &mut attempts).await {
            Ok(response) => return Ok(response),
            Err(error) => error,
        };
        let Some(pause) = attempts.failed() else {
            return Err(StreamingError::Unreachable(Unreachable::new(&error)));
        };
        let parts = attempts.reached;
        tracing::info!(%error, parts, "the transfer of a snapshot was interrupted");
        tokio::time::sleep(pause).await;
    }
}

/// Sends the parts that the receiver does not have.
async fn attempt(
    client: &mut Client,
    head: &pb::SnapshotHead,
    image: &Image,
    account: &Account,
    attempts: &mut Attempts,
) -> Result<SnapshotResponse<TypeConfig>, AnyError> {
    let found = with_timeout(client.find_snapshot(head.clone())).await?;
    let pb::SnapshotPosition { parts, table, key, higher } = found.into_inner();
    if higher.is_some() {
        let vote = codec::vote_from_wire(higher).map_err(|e| AnyError::new(&e))?;
        return Ok(SnapshotResponse::new(vote));
    }
    attempts.reached(parts);
    let parts = image.parts(PartPosition { parts, table, key });
    let parts =
        parts.ok_or_else(|| AnyError::error("the receiver has parts of another snapshot"))?;
    let (sender, receiver) = mpsc::channel(PARTS_AHEAD_MAX);
    // Reading blocks a thread. The reader stops when the channel is closed.
    let head = head.clone();
    let account = account.clone();
    tokio::task::spawn_blocking(move || read(parts, head, &account, &sender));
    let progress = Arc::new(AtomicU64::new(0));
    let sent = client.send_snapshot(paced(receiver, progress.clone()));
    tokio::pin!(sent);
    let mut before = u64::MAX;
    let sent = loop {
        match tokio::time::timeout(REPLY_TIMEOUT, &mut sent).await {
            Ok(sent) => break sent.map_err(|e| AnyError::new(&e))?,
            Err(_) if progress.load(Ordering::Relaxed) == before => {
                return Err(AnyError::error("the receiver makes no progress"));
            }
            Err(_) => before = progress.load(Ordering::Relaxed),
        }
    };
    let vote = codec::vote_from_wire(sent.into_inner().vote).map_err(|e| AnyError::new(&e))?;
    Ok(SnapshotResponse::new(vote))
}

/// A part in flight, with its share of the memory budget.
type Sent = (pb::SnapshotPart, Permit);

fn read(parts: Parts, head: pb::SnapshotHead, account: &Account, sender: &mpsc::Sender<Sent>) {
    let mut head = Some(head);
    for part in parts {
        let part = match part {
            Ok(part) => part,
            Err(error) => {
                tracing::error!(%error, "cannot read a snapshot");
                return;
            }
        };
        // The budget is charged even if it is full: parts are few, and a lagging member must not
        // wait for clients.
        let permit = account.charge(part.content.len());
        let message = pb::SnapshotPart {
            head: head.take(),
            number: part.number,
            content: part.content,
            is_last: part.is_last,
        };
        if sender.blocking_send((message, permit)).is_err() {
            return;
        }
    }
    if let Some(head) = head {
        // The receiver has all parts already, but an earlier call broke off before its end. An
        // empty part ends this call.
        let empty = pb::SnapshotPart { head: Some(head), is_last: true, ..Default::default() };
        sender.blocking_send((empty, account.nothing())).ok();
    }
}

async fn with_timeout<T>(
    call: impl Future<Output = Result<tonic::Response<T>, Status>>,
) -> Result<tonic::Response<T>, AnyError> {
    let called = tokio::time::timeout(REPLY_TIMEOUT, call).await;
    called.map_err(|late| AnyError::new(&late))?.map_err(|status| AnyError::new(&status))
}

/// Yields parts at no more than [`BYTES_PER_SECOND_MAX`], and counts their bytes in `progress`.
/// Each part keeps its permit until the next one is polled.
fn paced(
    parts: mpsc::Receiver<Sent>,
    progress: Arc<AtomicU64>,
) -> impl futures_util::Stream<Item = pb::SnapshotPart> + Send {
    let start = Instant::now();
    let begin = (parts, progress, None);
    futures_util::stream::unfold(begin, move |(mut parts, progress, before)| async move {
        drop(before);
        let (part, permit) = parts.recv().await?;
        let sent = progress.load(Ordering::Relaxed);
        tokio::time::sleep_until(start + Duration::from_millis(sent * 1000 / BYTES_PER_SECOND_MAX))
            .await;
        progress.fetch_add(part.content.len() as u64, Ordering::Relaxed);
        Some((part, (parts, progress, Some(permit))))
    })
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_part_is_charged_until_the_next_one_is_sent() {
        let budget = crate::budget::Budget::new(1 << 20);
        let account = budget.account();
        let (sender, receiver) = mpsc::channel(PARTS_AHEAD_MAX);
        for length in [100, 10] {
            let content = vec![0; length].into();
            let part = pb::SnapshotPart { content, ..Default::default() };
            sender.send((part, account.charge(length))).await.unwrap();
        }
        drop(sender);
        let sent = paced(receiver, Arc::default());
        tokio::pin!(sent);
        for held in [110, 10, 0] {
            assert_eq!(sent.next().await.is_some(), held > 0);
            assert_eq!(budget.used(), held);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_receiver_that_was_reached_is_waited_for() {
        let mut attempts = Attempts::new();
        assert_eq!(attempts.failed(), None, "it was never there");
        attempts.reached(0);
        let waited = |attempts: &mut Attempts| {
            let pauses = std::iter::from_fn(|| attempts.failed());
            pauses.take(5).collect::<Vec<_>>()
        };
        let millis = [200, 400, 800, 1600, 3000].map(Duration::from_millis);
        assert_eq!(waited(&mut attempts), millis);
        tokio::time::sleep(GIVE_UP_AFTER - Duration::from_secs(1)).await;
        attempts.reached(0);
        assert_eq!(attempts.failed(), Some(RETRY_PAUSE_MAX));
        attempts.reached(7);
        tokio::time::sleep(GIVE_UP_AFTER).await;
        assert_eq!(waited(&mut attempts), millis, "it had come further");
        tokio::time::sleep(GIVE_UP_AFTER).await;
        attempts.reached(7);
        assert_eq!(attempts.failed(), None);
    }
}
