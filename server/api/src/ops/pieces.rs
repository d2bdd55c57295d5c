//! Sends long answers to ranges piece by piece, as the connection takes them. The rows of a piece
//! are read again when it is sent, at the same revision as before.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{Stream, stream};
use parking_lot::Mutex;
use quorate_core::mvcc::range::key_range;
use quorate_core::mvcc::{ReadContext as _, View};
use quorate_core::planted::{self, Mistake};
use quorate_proto::etcdserverpb as pb;
use quorate_raft::{Account, Permit};

use super::rows::{Form, Rows};
use crate::error::ApiError;
use crate::memory::take;
use crate::scan::Client;
use crate::server::Server;

/// Bytes of a piece. A larger row is a piece of its own.
const PIECE_BYTES: usize = 256 << 10;
/// Time limit for a piece to get memory. It is long because the client is busy with the data sent
/// before.
const PIECE_WITHIN: Duration = Duration::from_secs(60);
/// How long a long answer pins its view of the store while its client takes no data. The data in a
/// pinned view cannot be freed.
const IDLE_MAX: Duration = Duration::from_secs(2);
/// How long a long answer pins the same view although its client takes data. Without this limit,
/// many slow clients, each with a view of its own, would keep the data of many states.
const PINNED_MAX: Duration = Duration::from_secs(10);

/// A long answer: its beginning, the rows that follow, and the end of the message.
pub(crate) struct Long<F> {
    pub(super) kept: Rows<F>,
    pub(super) rest: Box<Rest>,
    pub(super) end: Vec<u8>,
}

impl<F: Form> Long<F> {
    /// An empty answer as a placeholder, as [`Rows::nothing`] is.
    pub(crate) fn nothing(&self) -> Rows<F> {
        self.kept.nothing()
    }

    /// The answer in pieces. If a piece fails, the answer cannot be completed.
    ///
    /// # Errors
    /// A message cannot be that long.
    pub(crate) fn into_pieces(
        self,
    ) -> Result<impl Stream<Item = Result<Bytes, ApiError>> + Send + use<F>, ApiError> {
        let Self { kept, rest, end } = self;
        let data = kept.into_data(rest.bytes + end.len())?;
        rest.server.tasks().spawn(rest.pinned.clone().watch(rest.server.clone()));
        Ok(stream::try_unfold(Step::Begin(data, rest, end), Step::take::<F>))
    }
}

/// The next step of sending a long answer.
enum Step {
    Begin(Bytes, Box<Rest>, Vec<u8>),
    Rows(Box<Rest>, Vec<u8>),
    End,
}

impl Step {
    async fn take<F: Form>(self) -> Result<Option<(Bytes, Self)>, ApiError> {
        match self {
            Self::Begin(data, rest, end) => Ok(Some((data, Self::Rows(rest, end)))),
            Self::Rows(rest, end) if rest.rows == 0 => Ok(Some((end.into(), Self::End))),
            Self::Rows(rest, end) => {
                let (data, rest) = rest.piece::<F>().await?;
                Ok(Some((data, Self::Rows(rest, end))))
            }
            Self::End => Ok(None),
        }
    }
}

/// The rows of an answer that were measured but not kept.
pub(super) struct Rest {
    pub(super) server: Server,
    pub(super) account: Account,
    /// The request for the remaining rows; if the rows are not in key order, the original request.
    pub(super) request: pb::RangeRequest,
    /// If the rows are not in key order: the keys of all rows.
    pub(super) picked: Option<Vec<Bytes>>,
    /// Number of the rows that have been sent.
    pub(super) sent: usize,
    /// Bytes of the remaining rows.
    pub(super) bytes: usize,
    /// Number of the remaining rows.
    pub(super) rows: usize,
    pub(super) pinned: Arc<Pinned>,
    /// The permits for the keys in `picked`.
    pub(super) kept: Vec<Permit>,
}

impl Rest {
    /// Reads the next piece of the rows.
    async fn piece<F: Form>(self: Box<Self>) -> Result<(Bytes, Box<Self>), ApiError> {
        let server = self.server.clone();
        let account = self.account.clone();
        let mut room = account.nothing();
        let mut rest = self;
        loop {
            let read =
                move |client: &Arc<Client>| rest.read::<F>(client, room).map(|piece| (piece, rest));
            let read = server.scans().scan_within(&account, PIECE_WITHIN, read).await?;
            let (piece, unsent) = read.result?;
            rest = unsent;
            match piece.needs() {
                0 => return Ok((piece.into_data(0)?, rest)),
                bytes => room = take(&account, bytes, PIECE_WITHIN).await?,
            }
        }
    }

    fn read<F: Form>(&mut self, client: &Arc<Client>, room: Permit) -> Result<Rows<F>, ApiError> {
        let view = self.pinned.view(&self.server).with_context(client.clone());
        let mut piece = Rows::piece(room, PIECE_BYTES, self.sent);
        let read = match &self.picked {
            Some(keys) => view.rows(&self.request, &keys[self.sent..], &mut piece),
            None => {
                self.request.limit = i64::try_from(self.rows).unwrap_or(i64::MAX);
                view.range(&self.request, false, &mut piece).map(|_| ())
            }
        };
        self.sent += piece.rows();
        read.map_err(|error| self.server.read_failed(error))?;
        if client.is_cancelled() {
            return Err(ApiError::Canceled);
        }
        if piece.needs() > 0 {
            return Ok(piece);
        }
        if self.picked.is_none() {
            self.request.key = key_range(&self.request).after(piece.last_key()).start;
        }
        // The length of the answer has been sent already, so the rows must match the measurement.
        let left = self.bytes.checked_sub(piece.len()).zip(self.rows.checked_sub(piece.rows()));
        let is_right =
            |&(bytes, rows): &(usize, usize)| piece.rows() > 0 && (bytes == 0) == (rows == 0);
        let Some((bytes, rows)) = left.filter(is_right) else {
            let revision = self.request.revision;
            tracing::error!(revision, "a range has changed between two reads at one revision");
            return Err(ApiError::Unreadable);
        };
        (self.bytes, self.rows) = (bytes, rows);
        Ok(piece)
    }
}

/// The pinned view of a long answer. The view is released after [`PINNED_MAX`], and while the
/// client takes no data.
pub(super) struct Pinned(Mutex<Pin>);

struct Pin {
    view: Option<View>,
    /// When the view was pinned.
    since: Instant,
    /// When the view was last used.
    used: Instant,
}

impl Pin {
    /// Whether the view must be released.
    fn is_over(&self, now: Instant) -> bool {
        now - self.used >= IDLE_MAX || now - self.since >= PINNED_MAX
    }
}

impl Pinned {
    pub(super) fn new(view: View) -> Arc<Self> {
        let now = Instant::now();
        Arc::new(Self(Mutex::new(Pin { view: Some(view), since: now, used: now })))
    }

    /// The pinned view. If it was released, a current view is pinned: it shows the same rows at the
    /// answer's revision until that revision is compacted.
    fn view(&self, server: &Server) -> View {
        let mut pin = self.0.lock();
        pin.used = Instant::now();
        if pin.view.is_none() {
            pin.since = pin.used;
        }
        pin.view.get_or_insert_with(|| server.member().view()).clone()
    }

    /// Releases the view when it is idle or has been pinned for long. Returns when the answer has
    /// ended.
    async fn watch(self: Arc<Self>, server: Server) {
        let pinned = Arc::downgrade(&self);
        drop(self);
        let idle = async {
            while let Some(pinned) = pinned.upgrade() {
                {
                    let mut pin = pinned.0.lock();
                    if pin.is_over(Instant::now()) && !planted::has(Mistake::KeepView) {
                        pin.view = None;
                    }
                }
                drop(pinned);
                tokio::time::sleep(IDLE_MAX).await;
            }
        };
        server.stopping().run_until_cancelled(idle).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_view_is_released_when_it_is_idle_or_pinned_for_long() {
        let since = Instant::now();
        let after = |seconds| since + Duration::from_secs(seconds);
        let is_over = |used, now| Pin { view: None, since, used: after(used) }.is_over(after(now));
        assert!(!is_over(0, 0));
        assert!(!is_over(0, 1));
        assert!(is_over(0, 2));
        assert!(!is_over(8, 9));
        assert!(is_over(9, 10));
        assert!(is_over(10, 10));
    }
}
