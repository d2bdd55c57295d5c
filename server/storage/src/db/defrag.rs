//! Defragmentation: copying the rows into a new file and switching to that file.
//!
//! The copy is made from one commit while flushes continue into the old file. Then the versions
//! flushed since are merged into the copy, repeatedly, until few are left. The writing thread
//! merges the last ones and switches the files. Compacted history is not deleted while a copy is
//! being made: the copy could have a version whose deletion it never sees.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use quorate_core::Fault;

use super::copy::DatabaseCopy;
use super::error::{JobError, Problem};
use super::meta::Meta;
use super::read_txn::ReadTxn;
use super::state::{EngineShared, Job, JobDone};
use crate::space::Disk;

/// The writing thread finishes a copy that lags behind by at most this many revisions.
const DEFRAG_LAG_MAX: i64 = 20_000;

/// Free space to leave in addition to a copy, for the log and for flushes during the copy.
const SPARE_BYTES: u64 = 16 << 20;

/// Fails if the disk of `directory` has no space for a copy of the database that `meta` describes:
/// a full disk would stop the log.
pub(super) fn check_space(directory: &Path, meta: &Meta) -> Result<(), Fault> {
    let in_use = meta.latest_bytes + meta.history_bytes;
    let needed = in_use + in_use / 4 + SPARE_BYTES;
    // If the file system does not report its free space, the copy itself finds out.
    let free = Disk::of(directory).map_or(u64::MAX, |disk| disk.free);
    if free >= needed {
        return Ok(());
    }
    Err(Problem::NoSpaceForCopy { path: directory.to_owned(), needed, free }.into())
}

/// Starts a defragmentation, unless one is running, and calls `done` at its end.
pub(super) fn defragment(shared: &Arc<EngineShared>, done: Option<JobDone>) {
    let mut state = shared.state.lock();
    if let Some((_, waiting)) = &mut state.defragmenting {
        waiting.extend(done);
        return;
    }
    state.defragmenting = Some((Instant::now(), done.into_iter().collect()));
    shared.metrics.defragmenting.set(1);
    let base = state.base.clone();
    let number = state.number;
    drop(state);
    let given = shared.clone();
    let spawned = std::thread::Builder::new().name("defragment".to_owned()).spawn(move || {
        if let Err(error) = copy(&given, base, number) {
            end_defragmentation(&given, Err(error.into()));
        }
    });
    if let Err(error) = spawned {
        end_defragmentation(shared, Err(error.into()));
    }
}

/// Copies file `number` from its commit `base`, and hands the copy to the writing thread for the
/// last step.
fn copy(shared: &EngineShared, base: Arc<ReadTxn>, number: u64) -> Result<(), Fault> {
    let last = || -> Result<Arc<ReadTxn>, Fault> {
        let state = shared.state.lock();
        if state.number != number {
            return Err(Problem::Superseded.into());
        }
        Ok(state.base.clone())
    };
    check_space(shared.directory.path(), base.meta())?;
    let file = shared.directory.new_file();
    let database = file.open(shared.options.cache_bytes)?;
    let mut copy = DatabaseCopy::new(database, file, &base, &|| last().map(|_| ()))?;
    drop(base);
    loop {
        let base = last()?;
        let lag = base.meta().history_revision - copy.revision();
        if lag <= DEFRAG_LAG_MAX {
            break;
        }
        copy.catch_up(&base)?;
    }
    let mut state = shared.state.lock();
    state.jobs.push_back(Job::FinishCopy(Box::new(copy), number));
    drop(state);
    shared.wake.notify_one();
    Ok(())
}

/// Calls the callbacks of the defragmentation. If it failed, the old file stays in use.
pub(super) fn end_defragmentation(shared: &EngineShared, result: Result<(), JobError>) {
    let mut state = shared.state.lock();
    let ended = state.defragmenting.take();
    drop(state);
    let Some((started, waiting)) = ended else { return };
    shared.metrics.defragmenting.set(0);
    if result.is_ok() {
        shared.metrics.defrag.observe(started.elapsed().as_secs_f64());
    }
    if let Err(error) = &result {
        tracing::error!(%error, "the defragmentation failed; the database is unchanged");
    }
    shared.wake.notify_one();
    for done in waiting {
        done(result.clone());
    }
}
