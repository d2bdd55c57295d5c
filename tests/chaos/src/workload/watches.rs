//! Watches that resume at another member when their connection ends.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use quorate_proto::etcdserverpb::WatchCreateRequest;
use quorate_test_support::wait;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::endpoints::Address;
use super::traffic::shared_key;
use super::watcher::Watcher;
use crate::history::{Moment, Observation};

/// The interval between two looks for ended watches.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// The number of [`lasting_interests`].
pub const LASTING_WATCHES: usize = 4;
/// How long watches may take to receive the written events.
const CATCH_UP_WITHIN: Duration = Duration::from_secs(30);

/// Watches that are held open.
#[derive(Debug)]
pub struct Watches {
    kept: Arc<Mutex<Vec<Kept>>>,
    keeper: JoinHandle<()>,
}

/// A watch and its last member.
#[derive(Debug)]
struct Kept {
    watcher: Watcher,
    member: usize,
}

impl Watches {
    /// Keeps watches open: resumes each ended watch at the member that `next` chooses. `next` gets
    /// the last member of the watch.
    pub fn keep(runtime: &Handle, mut next: impl FnMut(usize) -> Address + Send + 'static) -> Self {
        let kept: Arc<Mutex<Vec<Kept>>> = Arc::default();
        let held = kept.clone();
        let handle = runtime.clone();
        let keeper = runtime.spawn(async move {
            let mut ticks = tokio::time::interval(LOOK_EVERY);
            loop {
                ticks.tick().await;
                let mut kept = held.lock().expect("no holder of the lock panics");
                for Kept { watcher, member } in kept.iter_mut() {
                    if !watcher.is_open() {
                        let Address { member: number, url } = next(*member);
                        *member = number;
                        watcher.resume(&handle, number, &url);
                    }
                }
            }
        });
        Self { kept, keeper }
    }

    /// Adds a watch, as if the watch was last open at `member`.
    pub fn add(&self, watcher: Watcher, member: usize) {
        self.kept().push(Kept { watcher, member });
    }

    /// Pauses or resumes the reading of all watches.
    pub fn set_paused(&self, is_paused: bool) {
        self.kept().iter().for_each(|kept| kept.watcher.set_paused(is_paused));
    }

    /// Ends all watches except the first `count`.
    pub fn truncate(&self, count: usize) {
        self.kept().truncate(count);
    }

    /// The highest revision that all watches have reached; `None` without watches.
    pub fn seen(&self) -> Option<i64> {
        self.kept().iter().map(|kept| kept.watcher.seen()).min()
    }

    /// Waits until all watches have received everything up to `revision`.
    ///
    /// # Panics
    /// When the wait takes too long.
    pub fn catch_up(&self, revision: i64) {
        let caught_up = wait::within(CATCH_UP_WITHIN, || {
            self.seen().is_none_or(|seen| seen >= revision).then_some(())
        });
        let kept = self.kept();
        assert!(
            caught_up.is_some(),
            "{}",
            lagging(kept.iter().map(|kept| &kept.watcher), revision)
        );
    }

    /// Takes the observations that were made up to `until` and that no earlier call took.
    pub fn take(&self, until: Moment) -> Vec<Observation> {
        self.kept().iter().flat_map(|kept| kept.watcher.take(until)).collect()
    }

    fn kept(&self) -> MutexGuard<'_, Vec<Kept>> {
        self.kept.lock().expect("no holder of the lock panics")
    }
}

impl Drop for Watches {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

/// The requests of watches that last for a whole campaign and start at the first write. One watch
/// is for all keys, one is for a few keys, and two are for single keys. Of these two, one asks for
/// previous values.
pub fn lasting_interests() -> [WatchCreateRequest; LASTING_WATCHES] {
    let all = Bytes::from_static(b"\0");
    let first = Bytes::from_static(b"k/00");
    let last = Bytes::from_static(b"k/01");
    let interest = |key, range_end, prev_kv| WatchCreateRequest {
        key,
        range_end,
        prev_kv,
        start_revision: 2,
        ..Default::default()
    };
    [
        interest(all.clone(), all, true),
        interest(first, last, false),
        interest(shared_key(0), Bytes::new(), true),
        interest(shared_key(1), Bytes::new(), false),
    ]
}

/// An error text with the watches that have not reached `revision`.
fn lagging<'a>(watchers: impl Iterator<Item = &'a Watcher>, revision: i64) -> String {
    let behind = watchers.filter(|watcher| watcher.seen() < revision);
    let behind: Vec<String> = behind.map(|watcher| format!("\n{watcher}")).collect();
    format!(
        "watches that catch up with revision {revision}: not within {CATCH_UP_WITHIN:?}{}",
        behind.concat()
    )
}
