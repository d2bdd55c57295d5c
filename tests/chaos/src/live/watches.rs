//! Watches that go on at another member when theirs is gone.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use quorate_test_support::wait;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::endpoints::Endpoints;
use crate::history::{Moment, Observation};
use crate::workload::watcher::Watcher;

/// How often it is looked whether a watch has ended.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// How long watches may take to be told what was written.
const CATCH_UP_WITHIN: Duration = Duration::from_secs(30);

/// Watches that are held open.
#[derive(Debug)]
pub(super) struct Watches {
    watchers: Arc<Mutex<Vec<Watcher>>>,
    keeper: JoinHandle<()>,
}

impl Watches {
    /// Opens watches, each at another member if there are enough.
    pub(super) fn open(runtime: &Handle, endpoints: &Endpoints, watchers: Vec<Watcher>) -> Self {
        let mut members: Vec<usize> = (0..watchers.len()).collect();
        let watchers = Arc::new(Mutex::new(watchers));
        let (kept, endpoints, handle) = (watchers.clone(), endpoints.clone(), runtime.clone());
        let keeper = runtime.spawn(async move {
            let mut ticks = tokio::time::interval(LOOK_EVERY);
            loop {
                ticks.tick().await;
                let mut watchers = kept.lock().expect("nobody panics with it");
                for (watcher, member) in watchers.iter_mut().zip(&mut members) {
                    if !watcher.is_open() {
                        let (next, url) = endpoints.next(*member);
                        *member = next;
                        watcher.resume(&handle, next, &url);
                    }
                }
            }
        });
        Self { watchers, keeper }
    }

    /// Waits until all have been told everything up to `revision`.
    ///
    /// # Panics
    /// When one is not told.
    pub(super) fn catch_up(&self, revision: i64) {
        wait::until("watches that catch up", CATCH_UP_WITHIN, || {
            let watchers = self.watchers.lock().expect("nobody panics with it");
            watchers.iter().all(|watcher| watcher.seen() >= revision).then_some(())
        });
    }

    /// Takes what they were told since the last call, as long as that was before `until`.
    pub(super) fn take(&self, until: Moment) -> Vec<Observation> {
        let watchers = self.watchers.lock().expect("nobody panics with it");
        watchers.iter().flat_map(|watcher| watcher.take(until)).collect()
    }
}

impl Drop for Watches {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}
