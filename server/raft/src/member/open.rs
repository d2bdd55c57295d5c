//! Opening the log and the database.

use std::sync::Arc;

use quorate_core::{LogPosition, Store};
use quorate_storage::OnFault;
use quorate_storage::data_dir::DataDir;
use quorate_storage::db::engine::Engine;
use quorate_storage::db::open::OpenedDatabase;
use quorate_storage::wal::{self, LogState, Wal};

use super::error::StartError;
use super::options::Options;
use crate::disk::flusher::Flusher;
use crate::ground::completion::completion;
use crate::log::encoding::decode_membership;
use crate::log::types::StoredMembership;

/// The opened log and database.
pub(super) struct Opened {
    pub(super) wal: Arc<Wal>,
    pub(super) store: Store,
    pub(super) membership: StoredMembership,
    pub(super) flusher: Flusher,
}

pub(super) fn open(
    data_dir: &DataDir,
    options: &Options,
    on_fault: &OnFault,
) -> Result<Opened, StartError> {
    // The log is opened first: if it is new but there is a database, the log was lost.
    let wal = Arc::new(Wal::open(data_dir.wal(), &options.wal, on_fault.clone())?);
    let is_new = wal.state() == LogState::default();
    let opened = OpenedDatabase::open(&data_dir.db(), options.database.clone(), is_new)?;
    let restored = opened.restored().clone();
    let membership = decode_membership(&restored.membership).map_err(StartError::Damaged)?;
    purge_stale_log(&wal, restored.applied);
    let store = Store::new(opened.base(), restored);
    let shared = store.shared().clone();
    let engine = Engine::start(opened, shared.clone(), on_fault.clone())
        .map_err(|error| StartError::Raft(error.to_string()))?;
    let flush = options.flush.clone();
    let flusher = Flusher::new(flush, wal.clone(), engine, shared, on_fault.clone());
    Ok(Opened { wal, store, membership, flusher })
}

/// Purges a log that differs from the database: the member ended after it had installed a snapshot
/// and before it had purged the log. Such entries were never committed, whatever their term: a
/// leader without followers may have had a higher term than the last entry in the snapshot.
fn purge_stale_log(wal: &Wal, applied: Option<LogPosition>) {
    let Some(applied) = applied else { return };
    let LogState { purged, last, .. } = wal.state();
    let is_kept = purged.is_some_and(|purged| purged.index >= applied.index)
        || wal.term(applied.index) == Some(applied.term);
    if is_kept || last.is_none() {
        return;
    }
    tracing::info!(
        index = applied.index,
        "purged the log up to the database's position: it ended before that or differed there"
    );
    // The purge need not be durable: the next start would repeat it.
    wal.truncate_after(purged, Box::new(drop));
    wal.purge(applied, Box::new(drop));
}

/// Changes the log and waits until the change is durable.
pub(super) async fn durable(change: impl FnOnce(wal::Done)) -> Result<(), StartError> {
    let (completer, written) = completion();
    change(completer.callback());
    let written = written.await.unwrap_or_else(|stopped| Err(std::io::Error::other(stopped)));
    written.map_err(|error| StartError::Raft(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_log_that_contradicts_the_database_is_purged() {
        let at = |term, index| LogPosition { term, index };
        let cases = [
            (at(4, 10), at(4, 10), "a tail of a higher term that ends before the snapshot"),
            (at(4, 2), at(4, 2), "a tail of another term at the snapshot's end"),
            (at(5, 2), at(5, 3), "what follows the database"),
        ];
        for (applied, last, case) in cases {
            let dir = tempfile::tempdir().unwrap();
            let fault: OnFault = Arc::new(|fault| panic!("{fault}"));
            let open = || Wal::open(dir.path(), &wal::Options::default(), fault.clone()).unwrap();
            let log = open();
            let entries = (0..4).map(|index| wal::Entry {
                position: at(5, index),
                kind: 0,
                payload: Vec::new().into(),
            });
            durable(|done| log.append(entries, done)).await.unwrap();
            purge_stale_log(&log, Some(applied));
            assert_eq!(log.state().last, Some(last), "{case}");
            // Nothing else may be written after the purge.
            durable(|done| log.sync(done)).await.unwrap();
            drop(log);
            let log = open();
            assert_eq!(log.state().last, Some(last), "{case}");
            let next =
                wal::Entry { position: at(6, last.index + 1), kind: 0, payload: Vec::new().into() };
            durable(|done| log.append([next], done)).await.unwrap();
            assert_eq!(log.state().last, Some(at(6, last.index + 1)), "{case}");
        }
    }
}
