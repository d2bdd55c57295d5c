//! A well-behaved client, for tests in which other clients misbehave: it makes one small put after
//! another.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// The puts before the attack, or those during it.
#[derive(Clone, Debug, Default)]
pub struct Puts {
    /// How long each successful put took, in ascending order. Includes the put during which
    /// [`HealthyClient::end`] was called, even if it failed.
    pub took: Vec<Duration>,
    /// How many puts failed; these are not in `took`.
    pub failed: usize,
}

impl Puts {
    /// The duration within which `percent` of the puts were done; `None` without puts.
    pub fn within(&self, percent: usize) -> Option<Duration> {
        self.took.get(self.took.len() * percent / 100).copied()
    }
}

/// The running client.
#[derive(Debug)]
pub struct HealthyClient {
    is_ended: Arc<AtomicBool>,
    /// The number of puts that began and succeeded during the attack.
    served: Arc<AtomicUsize>,
    puts: JoinHandle<[Puts; 2]>,
}

impl HealthyClient {
    /// Starts the client, lets it run for the duration `alone`, and returns: the attack may begin.
    /// `put` makes one put and returns whether it succeeded.
    pub fn start(alone: Duration, mut put: impl FnMut() -> bool + Send + 'static) -> Self {
        let is_attacked = Arc::new(AtomicBool::new(false));
        let is_ended = Arc::new(AtomicBool::new(false));
        let served = Arc::new(AtomicUsize::new(0));
        let attacked = is_attacked.clone();
        let counted = served.clone();
        let ended = is_ended.clone();
        let puts = thread::spawn(move || {
            let mut stretches = [Puts::default(), Puts::default()];
            while !ended.load(Ordering::Relaxed) {
                let during = usize::from(attacked.load(Ordering::Relaxed));
                let of = &mut stretches[during];
                let begun = Instant::now();
                let is_put = put();
                counted.fetch_add(during * usize::from(is_put), Ordering::Relaxed);
                if is_put || ended.load(Ordering::Relaxed) {
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
        Self { is_ended, served, puts }
    }

    /// The number of puts that began and succeeded during the attack, so far.
    pub fn served(&self) -> usize {
        self.served.load(Ordering::Relaxed)
    }

    /// Whether the client has ended: `put` has panicked.
    pub fn has_ended(&self) -> bool {
        self.puts.is_finished()
    }

    /// Stops after the put in progress. If that put fails after this call, it counts as a
    /// success.
    pub fn end(&self) {
        self.is_ended.store(true, Ordering::Relaxed);
    }

    /// Waits for the last put, and returns the puts before the attack and those during it.
    ///
    /// # Panics
    /// If `put` has panicked.
    pub fn finish(self) -> [Puts; 2] {
        self.end();
        self.puts.join().expect("a put does not panic")
    }
}
