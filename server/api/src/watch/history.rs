//! Reads history for unsynced watchers, in pieces that streams share.
//!
//! Streams take turns reading, so that any number of unsynced streams uses few threads and all of
//! them progress at the same rate. The latest pieces are cached: streams at the same revision get
//! the same piece and the same encoded events, which are in memory once.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;
use quorate_core::mvcc::{self, View};
use quorate_core::planted::{self, Mistake};
use quorate_core::watch::Interest;
use quorate_core::{Fault, Record, Revision};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::frame::{Batch, Event, MESSAGE_BYTES, encode};

/// Streams that read history at the same time.
const TURNS: usize = 2;
/// Size limit of a piece. A piece can exceed it, because a main revision is never divided.
const HISTORY_CHUNK: mvcc::ChunkLimit = mvcc::ChunkLimit { versions: 1000, bytes: MESSAGE_BYTES };
/// Maximum number of cached pieces.
const KEPT: usize = 16;
/// Largest cached piece in bytes.
const KEPT_BYTES: usize = 4 * MESSAGE_BYTES;
/// Maximum number of cached batches of a piece. Each serves all watchers with the same interest.
const BATCHES_KEPT: usize = 16;

/// The history reader of all streams. Clones share it.
#[derive(Clone)]
pub(crate) struct History {
    turns: Arc<Semaphore>,
    kept: Arc<Mutex<VecDeque<Arc<Piece>>>>,
}

/// The history that an unsynced watcher wants.
pub(crate) struct Wanted {
    pub(crate) watch_id: i64,
    /// The first main revision that the watcher has not been sent.
    pub(crate) from: i64,
    pub(crate) interest: Interest,
}

/// The events of a piece of history for several watchers.
pub(crate) struct Portions {
    /// The last main revision of the piece.
    pub(crate) reached: i64,
    pub(crate) portions: Vec<Portion>,
}

/// The events of a piece of history for one watcher.
pub(crate) struct Portion {
    pub(crate) watch_id: i64,
    /// The first main revision that the watcher has not been sent.
    pub(crate) from: i64,
    /// The events, including those before `from`.
    pub(crate) batch: Arc<Batch>,
}

/// The permit to read a piece of history.
pub(crate) struct Turn {
    _permit: Option<OwnedSemaphorePermit>,
}

impl History {
    pub(crate) fn new() -> Self {
        let turns = if planted::has(Mistake::ReadAtOnce) { Semaphore::MAX_PERMITS } else { TURNS };
        Self { turns: Arc::new(Semaphore::new(turns)), kept: Arc::default() }
    }

    /// Waits for a turn. Turns are granted in the order of the calls.
    ///
    /// # Cancel safety
    /// A dropped future loses its place in the queue.
    pub(crate) fn turn(&self) -> impl Future<Output = Turn> + Send + use<> {
        let turns = self.turns.clone();
        async move { Turn { _permit: turns.acquire_owned().await.ok() } }
    }

    /// Reads a piece of history on a blocking thread; there are as many such threads as turns. The
    /// piece begins at the revision that the first watcher wants, which must not be above the
    /// view's revision. The result includes the other watchers that the piece covers.
    pub(crate) async fn read(
        &self,
        turn: Turn,
        view: View,
        wanted: Vec<Wanted>,
    ) -> Result<Portions, Fault> {
        let history = self.clone();
        let read = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            history.portions(&view, wanted)
        });
        read.await.unwrap_or_else(|error| Err(Fault::Inconsistent(error.to_string())))
    }

    fn portions(&self, view: &View, wanted: Vec<Wanted>) -> Result<Portions, Fault> {
        let from = wanted.first().map_or_else(|| view.revision(), |first| first.from);
        let piece = self.piece(view, from)?;
        let mut portions = Vec::new();
        for Wanted { watch_id, from, interest } in wanted {
            if piece.covers(from) {
                let batch = piece.batch(view, &interest)?;
                portions.push(Portion { watch_id, from, batch });
            }
        }
        Ok(Portions { reached: piece.reached, portions })
    }

    /// A piece that covers main revision `from`, which must not be above the view's revision.
    fn piece(&self, view: &View, from: i64) -> Result<Arc<Piece>, Fault> {
        let found = self.kept.lock().iter().rev().find(|piece| piece.serves(view, from)).cloned();
        if let Some(piece) = found {
            return Ok(piece);
        }
        let piece = Arc::new(Piece::read(view, from)?);
        if piece.records.iter().map(Record::weight).sum::<usize>() <= KEPT_BYTES {
            let mut kept = self.kept.lock();
            kept.push_back(piece.clone());
            let oldest = if kept.len() > KEPT { kept.pop_front() } else { None };
            drop(kept);
            drop(oldest);
        }
        Ok(piece)
    }
}

/// All versions of some main revisions.
struct Piece {
    /// The first main revision.
    from: i64,
    /// The last main revision.
    reached: i64,
    /// The compacted revision at the time of the read, on which the previous versions of keys
    /// depend.
    compacted: i64,
    records: Vec<Record>,
    encoded: Mutex<Encoded>,
}

/// The encoded events of a piece so far.
#[derive(Default)]
struct Encoded {
    /// The events by index in `records`: first without, then with the previous version of the key.
    events: [BTreeMap<usize, Event>; 2],
    batches: BTreeMap<Interest, Arc<Batch>>,
}

impl Piece {
    fn read(view: &View, from: i64) -> Result<Self, Fault> {
        let mut records: Vec<Record> = Vec::new();
        let mut next = Revision::start_of(from);
        let reached = loop {
            let (more, is_full) = view.history_chunk(next, view.revision(), HISTORY_CHUNK)?;
            records.extend(more);
            let Some(last) = records.last().map(|last| last.revision).filter(|_| is_full) else {
                break view.revision();
            };
            // The last revision may be incomplete. It is left to the next piece, unless there is no
            // other revision in this one.
            let whole = records.partition_point(|record| record.revision.main < last.main);
            if whole > 0 {
                records.truncate(whole);
                break last.main - 1;
            }
            next = Revision::new(last.main, last.sub + 1);
        };
        let compacted = view.compacted();
        let encoded = Mutex::default();
        Ok(Self { from, reached, compacted, records, encoded })
    }

    fn serves(&self, view: &View, from: i64) -> bool {
        self.covers(from) && self.compacted == view.compacted()
    }

    /// Whether main revision `from` is in this piece.
    fn covers(&self, from: i64) -> bool {
        self.from <= from && from <= self.reached
    }

    /// The events of the piece that match the interest, from the piece's first revision on.
    fn batch(&self, view: &View, interest: &Interest) -> Result<Arc<Batch>, Fault> {
        let mut encoded = self.encoded.lock();
        let Encoded { events, batches } = &mut *encoded;
        if let Some(batch) = batches.get(interest) {
            return Ok(batch.clone());
        }
        let mut batch = Batch::default();
        let events = &mut events[usize::from(interest.prev_kv)];
        for (at, record) in self.records.iter().enumerate() {
            if !interest.range.contains(&record.key) || !interest.lets_through(record) {
                continue;
            }
            let event = match events.get(&at) {
                Some(event) => event.clone(),
                None => {
                    let previous = if interest.prev_kv { view.previous(record)? } else { None };
                    let event = encode(record, previous.as_ref());
                    events.insert(at, event.clone());
                    event
                }
            };
            batch.push(event, record.revision.main);
        }
        let batch = Arc::new(batch);
        if batches.len() < BATCHES_KEPT {
            batches.insert(interest.clone(), batch.clone());
        }
        Ok(batch)
    }
}
