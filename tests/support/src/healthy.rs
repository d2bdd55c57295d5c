//! A client that does nothing wrong while others do: it puts one small value after the other.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Puts of one stretch of time.
#[derive(Clone, Debug, Default)]
pub struct Puts {
    /// How long each took, the shortest first. The one under way at the end is among them.
    pub took: Vec<Duration>,
    /// How many more of them failed.
    pub failed: usize,
}

impl Puts {
    /// The time within which so many of a hundred puts were done; `None` without puts.
    pub fn within(&self, percent: usize) -> Option<Duration> {
        self.took.get(self.took.len() * percent / 100).copied()
    }
}

/// The running client.
#[derive(Debug)]
pub struct Healthy {
    is_ended: Arc<AtomicBool>,
    puts: JoinHandle<[Puts; 2]>,
}

impl Healthy {
    /// Begins, and returns when it has been `alone` for so long. `put` is one put, and tells
    /// whether the server did it.
    pub fn start(alone: Duration, mut put: impl FnMut() -> bool + Send + 'static) -> Self {
        let is_attacked = Arc::new(AtomicBool::new(false));
        let is_ended = Arc::new(AtomicBool::new(false));
        let (attacked, ended) = (is_attacked.clone(), is_ended.clone());
        let puts = thread::spawn(move || {
            let mut stretches = [Puts::default(), Puts::default()];
            while !ended.load(Ordering::Relaxed) {
                let of = &mut stretches[usize::from(attacked.load(Ordering::Relaxed))];
                let begun = Instant::now();
                if put() || ended.load(Ordering::Relaxed) {
                    of.took.push(begun.elapsed());
                } else {
                    of.failed += 1;
                }
            }
            stretches.each_mut().map(|of| {
                of.took.sort_unstable();
                std::mem::take(of)
            })
        });
        thread::sleep(alone);
        is_attacked.store(true, Ordering::Relaxed);
        Self { is_ended, puts }
    }

    /// Makes no further put: the one under way counts as done when the server fails it from here
    /// on.
    pub fn end(&self) {
        self.is_ended.store(true, Ordering::Relaxed);
    }

    /// Waits for the last put, and returns those made alone and those made under the attack.
    ///
    /// # Panics
    /// When `put` has panicked.
    pub fn finish(self) -> [Puts; 2] {
        self.end();
        self.puts.join().expect("a put does not panic")
    }
}
