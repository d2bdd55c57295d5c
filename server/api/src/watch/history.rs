//! History for watchers that are behind: read in pieces, once for all who are at the same place.
//!
//! Whoever wants a piece waits for its turn, so that streams that are behind take few threads
//! however many they are, and each gets on as fast as the others. The last pieces are kept: streams
//! that are at the same place get the same piece, and the same events, which are in memory once.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;
use quorate_core::mvcc::{self, View};
use quorate_core::planted::{self, Mistake};
use quorate_core::watch::Interest;
use quorate_core::{Fault, Record, Revision};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::frame::{Batch, Event, MESSAGE_BYTES, encode};

/// Streams that read history at once.
const TURNS: usize = 2;
/// What a piece holds, but for that a revision is never divided.
const PORTION: mvcc::Portion = mvcc::Portion { versions: 1000, bytes: MESSAGE_BYTES };
/// Pieces that are kept, and what each may weigh.
const KEPT: usize = 16;
const KEPT_BYTES: usize = 4 * MESSAGE_BYTES;
/// Batches that are kept of a piece, for those who want the same of it.
const BATCHES_KEPT: usize = 16;

/// Reads history for all streams. Clones share it.
#[derive(Clone)]
pub(crate) struct History {
    turns: Arc<Semaphore>,
    kept: Arc<Mutex<VecDeque<Arc<Piece>>>>,
}

/// What a watcher that is behind wants.
pub(crate) struct Wanted {
    pub(crate) watch_id: i64,
    /// The first main revision that it has not been sent.
    pub(crate) from: i64,
    pub(crate) interest: Interest,
}

/// What a piece of history has for some watchers.
pub(crate) struct Portions {
    /// The last main revision of the piece.
    pub(crate) reached: i64,
    pub(crate) portions: Vec<Portion>,
}

/// What it has for one of them.
pub(crate) struct Portion {
    pub(crate) watch_id: i64,
    /// The first main revision that it has not been sent.
    pub(crate) from: i64,
    /// Events, of earlier revisions as well.
    pub(crate) batch: Arc<Batch>,
}

/// Whoever holds it may read.
pub(crate) struct Turn {
    _permit: Option<OwnedSemaphorePermit>,
}

impl History {
    pub(crate) fn new() -> Self {
        let turns = if planted::has(Mistake::ReadAtOnce) { Semaphore::MAX_PERMITS } else { TURNS };
        Self { turns: Arc::new(Semaphore::new(turns)), kept: Arc::default() }
    }

    /// Waits for a turn. Turns are given in the order in which they were asked for: a future that
    /// is dropped loses its place.
    pub(crate) fn turn(&self) -> impl Future<Output = Turn> + Send + use<> {
        let turns = self.turns.clone();
        async move { Turn { _permit: turns.acquire_owned().await.ok() } }
    }

    /// Reads a piece of history on a thread of its own: what the first of some watchers wants,
    /// which is not above the last revision, and the others as far as the piece has it. Threads are
    /// as few as turns.
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

    /// A piece with the versions from main revision `from` on, which is not above the last one.
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
    /// The compacted revision when it was read: what a key held before depends on it.
    compacted: i64,
    records: Vec<Record>,
    encoded: Mutex<Encoded>,
}

/// What was encoded of a piece so far.
#[derive(Default)]
struct Encoded {
    /// The events by their place among the versions, without and with what the key held before.
    events: [BTreeMap<usize, Event>; 2],
    batches: BTreeMap<Interest, Arc<Batch>>,
}

impl Piece {
    fn read(view: &View, from: i64) -> Result<Self, Fault> {
        let mut records: Vec<Record> = Vec::new();
        let mut next = Revision::start_of(from);
        let reached = loop {
            let (more, is_full) = view.history_piece(next, view.revision(), PORTION)?;
            records.extend(more);
            let Some(last) = records.last().map(|last| last.revision).filter(|_| is_full) else {
                break view.revision();
            };
            // More of the last revision may follow: it is left to the next piece unless it is all.
            let whole = records.partition_point(|record| record.revision.main < last.main);
            if whole > 0 {
                records.truncate(whole);
                break last.main - 1;
            }
            next = Revision::new(last.main, last.sub + 1);
        };
        let (compacted, encoded) = (view.compacted(), Mutex::default());
        Ok(Self { from, reached, compacted, records, encoded })
    }

    fn serves(&self, view: &View, from: i64) -> bool {
        self.covers(from) && self.compacted == view.compacted()
    }

    /// Whether it begins at or before main revision `from` and reaches as far.
    fn covers(&self, from: i64) -> bool {
        self.from <= from && from <= self.reached
    }

    /// The events that those with this interest want of it, wherever they begin.
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
