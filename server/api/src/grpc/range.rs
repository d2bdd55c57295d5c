//! Answers to range requests. Rows are encoded while the store is read, as long as there is room.
//! The further rows of a long answer are only measured; they are read again, piece by piece, as the
//! connection takes them. All rows are read at one revision.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::stream;
use parking_lot::Mutex;
use quorate_core::Error;
use quorate_core::mvcc::range::{Picked, RangeSummary, is_in_key_order, key_range};
use quorate_core::mvcc::{Patience, View};
use quorate_proto::etcdserverpb as pb;
use quorate_raft::{Account, Permit};
use tonic::{Response, Status};

use crate::codec::rows::{EncodedRange, put_summary};
use crate::scan::Client;
use crate::server::Server;
use crate::transport::charge::take;
use crate::transport::stream::Streamed;

/// Most bytes of an answer that are kept while the rest is measured.
const KEPT_BYTES_MAX: usize = 8 << 20;
/// Shorter answers pass through the codec, as all other messages do.
const STREAMED_FROM: usize = 32 << 10;
/// Bytes of a piece of a long answer. A larger row is a piece of its own.
const PIECE_BYTES: usize = 256 << 10;
/// Time limit for a piece to get memory. It is long because the client is busy with the data sent
/// before.
const PIECE_WITHIN: Duration = Duration::from_secs(60);
/// How long a long answer pins its view of the store while its client takes no data. The data in a
/// pinned view cannot be freed.
const IDLE_MAX: Duration = Duration::from_secs(2);

/// An answer to a range request.
pub(crate) enum RangeAnswer {
    /// A complete answer.
    Whole(EncodedRange),
    /// The beginning of an answer, the rows that follow, and the fields after the rows.
    Long(EncodedRange, Box<Rest>, Vec<u8>),
}

impl RangeAnswer {
    /// The response for the connection. A long answer becomes a stream of pieces.
    pub(crate) fn into_response(self) -> Result<Response<EncodedRange>, Status> {
        let (streamed, nothing) = match self {
            Self::Whole(range) if range.len() < STREAMED_FROM => return Ok(Response::new(range)),
            Self::Whole(range) => {
                let nothing = range.nothing();
                let data = range.into_data(0)?;
                (Streamed::new(stream::iter([Ok(data)])), nothing)
            }
            Self::Long(kept, rest, behind) => {
                let nothing = kept.nothing();
                let data = kept.into_data(rest.bytes + behind.len())?;
                rest.server.tasks().spawn(rest.pinned.clone().watch(rest.server.clone()));
                let begin = Step::Begin(data, rest, behind);
                (Streamed::new(stream::try_unfold(begin, Step::take)), nothing)
            }
        };
        let mut response = Response::new(nothing);
        response.extensions_mut().insert(streamed);
        Ok(response)
    }
}

/// The next step of sending a long answer.
enum Step {
    Begin(Bytes, Box<Rest>, Vec<u8>),
    Rows(Box<Rest>, Vec<u8>),
    End,
}

impl Step {
    async fn take(self) -> Result<Option<(Bytes, Self)>, Status> {
        match self {
            Self::Begin(data, rest, behind) => Ok(Some((data, Self::Rows(rest, behind)))),
            Self::Rows(rest, behind) if rest.rows == 0 => Ok(Some((behind.into(), Self::End))),
            Self::Rows(rest, behind) => {
                let (data, rest) = rest.piece().await?;
                Ok(Some((data, Self::Rows(rest, behind))))
            }
            Self::End => Ok(None),
        }
    }
}

/// The rows of an answer that were measured but not kept.
pub(crate) struct Rest {
    server: Server,
    account: Account,
    /// In key order: the request for the remaining rows. In another order: the original request.
    request: pb::RangeRequest,
    /// In another order than key order: the keys of all rows, and how many of them have been sent.
    picked: Option<(Vec<Bytes>, usize)>,
    /// Bytes of the remaining rows.
    bytes: usize,
    /// Number of the remaining rows.
    rows: usize,
    pinned: Arc<Pinned>,
    /// The permits for the keys in `picked`.
    kept: Vec<Permit>,
}

impl Rest {
    /// Reads the next piece of the rows.
    async fn piece(self: Box<Self>) -> Result<(Bytes, Box<Self>), Status> {
        let server = self.server.clone();
        let account = self.account.clone();
        let mut room = account.nothing();
        let mut rest = self;
        loop {
            let read = move |client: &Arc<Client>| rest.read(client, room).map(|part| (part, rest));
            let (part, read) = server.scan_within(&account, PIECE_WITHIN, read).await?.result?;
            rest = read;
            match part.needs() {
                0 => return Ok((part.into_data(0)?, rest)),
                bytes => room = take(&account, bytes, PIECE_WITHIN).await?,
            }
        }
    }

    fn read(&mut self, client: &Arc<Client>, room: Permit) -> Result<EncodedRange, Status> {
        let view = self.pinned.view(&self.server).patient(client.clone());
        let mut part = EncodedRange::part(room, PIECE_BYTES);
        let read = match &mut self.picked {
            Some((keys, sent)) => {
                let read = view.rows(&self.request, &keys[*sent..], &mut part);
                *sent += part.rows();
                read
            }
            None => {
                self.request.limit = i64::try_from(self.rows).unwrap_or(i64::MAX);
                view.range(&self.request, false, &mut part).map(|_| ())
            }
        };
        read.map_err(|error| self.server.read_failed(error))?;
        if client.is_over() {
            return Err(Status::cancelled("context canceled"));
        }
        if part.needs() > 0 {
            return Ok(part);
        }
        if self.picked.is_none() {
            self.request.key = key_range(&self.request).after(part.last_key()).start;
        }
        // The length of the answer has been sent already, so the rows must match the measurement.
        let left = self.bytes.checked_sub(part.len()).zip(self.rows.checked_sub(part.rows()));
        let is_right =
            |&(bytes, rows): &(usize, usize)| part.rows() > 0 && (bytes == 0) == (rows == 0);
        let Some((bytes, rows)) = left.filter(is_right) else {
            let revision = self.request.revision;
            tracing::error!(revision, "a range has changed between two reads at one revision");
            return Err(Status::internal("etcdserver: cannot read the store"));
        };
        (self.bytes, self.rows) = (bytes, rows);
        Ok(part)
    }
}

/// The pinned view of a long answer and the time of its last use. The view is released while the
/// client takes no data.
struct Pinned(Mutex<(Option<View>, Instant)>);

impl Pinned {
    fn new(view: View) -> Arc<Self> {
        Arc::new(Self(Mutex::new((Some(view), Instant::now()))))
    }

    /// The pinned view. If it was released, a current view is pinned: it shows the same rows at the
    /// answer's revision until that revision is compacted.
    fn view(&self, server: &Server) -> View {
        let mut pinned = self.0.lock();
        pinned.1 = Instant::now();
        pinned.0.get_or_insert_with(|| server.member().view()).clone()
    }

    /// Releases the view whenever it is idle. Returns when the answer has ended.
    async fn watch(self: Arc<Self>, server: Server) {
        let pinned = Arc::downgrade(&self);
        drop(self);
        let idle = async {
            while let Some(pinned) = pinned.upgrade() {
                {
                    let mut pinned = pinned.0.lock();
                    if pinned.1.elapsed() >= IDLE_MAX {
                        pinned.0 = None;
                    }
                }
                drop(pinned);
                tokio::time::sleep(IDLE_MAX).await;
            }
        };
        server.stopping().run_until_cancelled(idle).await;
    }
}

impl Server {
    /// Reads a range. With a `client`, the read ends early once the client stops waiting.
    pub(crate) fn read_rows(
        &self,
        account: &Account,
        request: pb::RangeRequest,
        client: Option<&Arc<Client>>,
    ) -> Result<RangeAnswer, Status> {
        let pinned = self.member().view();
        let view = match client {
            Some(client) => pinned.clone().patient(client.clone()),
            None => pinned.clone(),
        };
        let header = self.header(view.revision());
        let mut range = EncodedRange::with_header(account, KEPT_BYTES_MAX, &header);
        let read = read(&view, &request, &mut range);
        let (summary, keys) = read.map_err(|error| self.read_failed(error))?;
        let (bytes, rows) = range.measured();
        if rows == 0 {
            range.finish(summary);
            return Ok(RangeAnswer::Whole(range));
        }
        let mut request = request;
        if request.revision <= 0 {
            request.revision = view.revision();
        }
        let picked = keys.map(|keys| (keys, range.rows()));
        if picked.is_none() && range.rows() > 0 {
            request.key = key_range(&request).after(range.last_key()).start;
        }
        let mut behind = Vec::new();
        put_summary(summary, &mut behind);
        let rest = Rest {
            server: self.clone(),
            account: account.clone(),
            request,
            picked,
            bytes,
            rows,
            pinned: Pinned::new(pinned),
            kept: Vec::new(),
        };
        Ok(RangeAnswer::Long(range, Box::new(rest), behind))
    }
}

/// Reads a range. If the rows are not in key order, the keys of all rows are returned, too.
fn read(
    view: &View,
    request: &pb::RangeRequest,
    range: &mut EncodedRange,
) -> Result<(RangeSummary, Option<Vec<Bytes>>), Error> {
    if request.count_only || is_in_key_order(request) {
        return Ok((view.range(request, true, range)?, None));
    }
    let Picked { keys, summary } = view.pick(request, true)?;
    view.rows(request, &keys, range)?;
    Ok((summary, Some(keys)))
}

impl RangeAnswer {
    /// Keeps the permit of the scan as long as a long answer needs it: for its keys.
    pub(crate) fn keep(&mut self, kept: Permit) {
        if let Self::Long(_, rest, _) = self {
            rest.kept.push(kept);
        }
    }
}
