//! openraft's log storage, on the write-ahead log.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

use futures_util::{Stream, stream};
use openraft::storage::{IOFlushed, LogState, RaftLogReader, RaftLogStorage};
use quorate_core::planted::{self, Mistake};
use quorate_storage::wal::{Done, Wal};

use super::encoding::{decode_vote, encode_vote, from_wal, to_wal};
use super::types::{Entry, LogId, TypeConfig, Vote, log_id, position};
use crate::ground::completion::completion;

/// Maximum bytes of entries in one read for a follower.
const READ_BYTES_MAX: usize = 1 << 20;
/// Maximum bytes of entries in one read for the state machine.
const APPLY_BYTES_MAX: usize = 4 << 20;

/// The log as openraft sees it. Clones share it.
#[derive(Clone)]
pub(crate) struct LogStore {
    wal: Arc<Wal>,
}

impl LogStore {
    pub(crate) fn new(wal: Arc<Wal>) -> Self {
        Self { wal }
    }

    fn read(&self, from: u64, to: u64, bytes_max: usize) -> io::Result<Vec<Entry>> {
        let entries = self.wal.read(from, to, bytes_max)?;
        entries.into_iter().map(|entry| from_wal(entry).map_err(invalid)).collect()
    }
}

fn invalid(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

/// The first index of a range, and the index after its last.
fn bounds(range: &impl RangeBounds<u64>) -> (u64, u64) {
    let start = match range.start_bound() {
        Bound::Included(start) => *start,
        Bound::Excluded(start) => start + 1,
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(end) => end + 1,
        Bound::Excluded(end) => *end,
        Bound::Unbounded => u64::MAX,
    };
    (start, end)
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn entries_stream<R>(&mut self, range: R) -> impl Stream<Item = io::Result<Entry>> + Send
    where
        R: RangeBounds<u64> + Clone + Debug + Send,
    {
        // After a restart the range may not fit into memory, so it is read in pieces.
        let (start, end) = bounds(&range);
        let log = self.clone();
        let first = (start, Vec::new().into_iter());
        stream::unfold(first, move |(mut next, mut read)| {
            let log = log.clone();
            async move {
                if let Some(entry) = read.next() {
                    return Some((Ok(entry), (next, read)));
                }
                if next >= end {
                    return None;
                }
                match log.read(next, end, APPLY_BYTES_MAX) {
                    Err(error) => Some((Err(error), (end, read))),
                    Ok(entries) => {
                        next += entries.len() as u64;
                        read = entries.into_iter();
                        read.next().map(|entry| (Ok(entry), (next, read)))
                    }
                }
            }
        })
    }

    async fn try_get_log_entries<R>(&mut self, range: R) -> io::Result<Vec<Entry>>
    where
        R: RangeBounds<u64> + Clone + Debug + Send,
    {
        let (start, end) = bounds(&range);
        // If the range begins before the log, openraft wants the entries that exist. The other
        // methods do not skip missing entries: replication and the state machine need the first
        // one.
        self.read(start.max(self.wal.first()), end, usize::MAX)
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        let vote = self.wal.state().vote;
        vote.map(|vote| decode_vote(&vote).map_err(invalid)).transpose()
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<Entry>> {
        self.read(start, end, READ_BYTES_MAX)
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState<TypeConfig>> {
        let state = self.wal.state();
        Ok(LogState {
            last_purged_log_id: state.purged.map(log_id),
            last_log_id: state.last.map(log_id),
        })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        let vote = encode_vote(vote);
        wait(|done| self.wal.save_vote(vote, done)).await
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> io::Result<()> {
        if let Some(committed) = committed {
            self.wal.save_committed(position(&committed));
        }
        Ok(())
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogId>> {
        Ok(self.wal.state().committed.map(log_id))
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig>) -> io::Result<()>
    where
        I: IntoIterator<Item = Entry> + Send,
        I::IntoIter: Send,
    {
        let done = Box::new(move |result| callback.io_completed(result));
        self.wal.append(entries.into_iter().map(to_wal), done);
        Ok(())
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> io::Result<()> {
        let last = last.map(|id| position(&id));
        let end = self.wal.state().last;
        if last.is_some_and(|last| end.is_none_or(|end| end.index <= last.index)) {
            // No entry comes after `last`.
            return Ok(());
        }
        wait(|done| self.wal.truncate_after(last, done)).await
    }

    async fn purge(&mut self, upto: LogId) -> io::Result<()> {
        // The purge is not awaited: openraft would do nothing else until it is durable, and not
        // even answer heartbeats. If a crash undoes the purge, the log only has more entries.
        if !planted::has(Mistake::KeepLog) {
            self.wal.purge(position(&upto), Box::new(drop));
        }
        Ok(())
    }
}

/// Makes a call and waits until its effect is durable.
async fn wait(call: impl FnOnce(Done)) -> io::Result<()> {
    let (completer, done) = completion();
    call(completer.callback());
    done.await.map_err(io::Error::other)?
}
