//! Reads history for unsynced watchers, in pieces that streams share.
//!
//! Streams take turns reading, so that any number of unsynced streams uses few threads and all of
//! them progress at the same rate. The latest pieces are cached: streams at the same revision get
//! the same piece and the same encoded events, which are in memory once. Pieces are small. Where a
//! revision or its events are large, history is read for one watcher alone ([`alone`]).

mod alone;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;
use quorate_core::mvcc::View;
use quorate_core::planted::{self, Mistake};
use quorate_core::watch::Interest;
use quorate_core::{Fault, Record, Revision};
use quorate_raft::Permit;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use self::alone::HISTORY_CHUNK;
use super::frame::{Batch, Event, MESSAGE_BYTES, encode};

/// Streams that read history at the same time.
const TURNS: usize = 2;
/// Maximum number of cached pieces.
const KEPT: usize = 16;
/// Bytes of keys and values of the largest piece.
const KEPT_BYTES: usize = 4 * MESSAGE_BYTES;
/// Bytes of encoded events of a piece. They can be many times the piece, because they can have the
/// previous values of the keys.
const ENCODED_BYTES: usize = 3 * KEPT_BYTES;
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
    /// The permit for the read.
    pub(crate) room: Permit,
    /// If the memory budget had no room for the events of the first watcher: their bytes.
    pub(crate) lacks: usize,
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
    ///
    /// `room` is the memory for the read. If the first watcher needs more, and the budget has no
    /// more, the result says how much, unless `exceeds` allows the read to exceed the budget.
    pub(crate) async fn read(
        &self,
        turn: Turn,
        view: View,
        wanted: Vec<Wanted>,
        (room, exceeds): (Permit, bool),
    ) -> Result<Portions, Fault> {
        let history = self.clone();
        let read = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            history.portions(&view, wanted, room, exceeds)
        });
        read.await.unwrap_or_else(|error| Err(Fault::Inconsistent(error.to_string())))
    }

    fn portions(
        &self,
        view: &View,
        wanted: Vec<Wanted>,
        room: Permit,
        exceeds: bool,
    ) -> Result<Portions, Fault> {
        let from = wanted.first().map_or_else(|| view.revision(), |first| first.from);
        let piece = self.piece(view, from)?;
        let mut portions = Vec::new();
        for Wanted { watch_id, from, interest } in wanted {
            let batch = match &piece {
                Some(piece) if piece.covers(from) => piece.batch(view, &interest)?,
                Some(_) => continue,
                None => None,
            };
            match batch {
                Some(batch) => portions.push(Portion { watch_id, from, batch }),
                // The others have their turns later.
                None if !portions.is_empty() => {}
                None => {
                    let alone::Alone { reached, batch, bytes, room } =
                        alone::read(view, from, &interest, room, exceeds)?;
                    let lacks = if batch.is_none() { bytes } else { 0 };
                    let portion = batch.map(|batch| Portion { watch_id, from, batch });
                    let portions = portion.into_iter().collect();
                    return Ok(Portions { reached, portions, room, lacks });
                }
            }
        }
        let reached = piece.map_or(from, |piece| piece.reached);
        Ok(Portions { reached, portions, room, lacks: 0 })
    }

    /// A piece that covers main revision `from`, which must not be above the view's revision.
    /// `None` if that revision is too large for a piece.
    fn piece(&self, view: &View, from: i64) -> Result<Option<Arc<Piece>>, Fault> {
        let found = self.kept.lock().iter().rev().find(|piece| piece.serves(view, from)).cloned();
        if found.is_some() {
            return Ok(found);
        }
        let Some(piece) = Piece::read(view, from)?.map(Arc::new) else { return Ok(None) };
        let mut kept = self.kept.lock();
        kept.push_back(piece.clone());
        let oldest = if kept.len() > KEPT { kept.pop_front() } else { None };
        drop(kept);
        drop(oldest);
        Ok(Some(piece))
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
    /// Bytes of these events.
    bytes: usize,
    batches: BTreeMap<Interest, Arc<Batch>>,
}

impl Piece {
    /// Reads a piece that begins with main revision `from`; `None` if it would be too large.
    fn read(view: &View, from: i64) -> Result<Option<Self>, Fault> {
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
            if is_large(&records) {
                return Ok(None);
            }
            next = last.next();
        };
        if is_large(&records) {
            return Ok(None);
        }
        let compacted = view.compacted();
        let encoded = Mutex::default();
        Ok(Some(Self { from, reached, compacted, records, encoded }))
    }

    fn serves(&self, view: &View, from: i64) -> bool {
        self.covers(from) && self.compacted == view.compacted()
    }

    /// Whether main revision `from` is in this piece.
    fn covers(&self, from: i64) -> bool {
        self.from <= from && from <= self.reached
    }

    /// The events of the piece that match the interest, from the piece's first revision on. `None`
    /// if the piece has too many bytes of events.
    fn batch(&self, view: &View, interest: &Interest) -> Result<Option<Arc<Batch>>, Fault> {
        let mut encoded = self.encoded.lock();
        let Encoded { events, bytes, batches } = &mut *encoded;
        if let Some(batch) = batches.get(interest) {
            return Ok(Some(batch.clone()));
        }
        let mut batch = Batch::default();
        let events = &mut events[usize::from(interest.prev_kv)];
        for (at, record) in self.records.iter().enumerate() {
            if !interest.range.contains(&record.key) || !interest.lets_through(record) {
                continue;
            }
            let event = match events.get(&at) {
                Some(event) => event.clone(),
                None if *bytes >= ENCODED_BYTES => return Ok(None),
                None => {
                    let previous = if interest.prev_kv { view.previous(record)? } else { None };
                    let event = encode(record, previous.as_ref());
                    *bytes += event.len();
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
        Ok(Some(batch))
    }
}

/// Whether these versions are too many for a piece.
fn is_large(records: &[Record]) -> bool {
    records.len() > HISTORY_CHUNK.versions
        || records.iter().map(Record::weight).sum::<usize>() > KEPT_BYTES
}

#[cfg(test)]
mod tests;
