//! An API server whose lists lag behind.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use jiff::SignedDuration;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use crate::api::{Answer, Objects, Request, Server, Verb};
use crate::world::Shared;

/// How many seconds a list may lag behind.
const SECONDS: i64 = 10;

/// The server. While `lags` is set, a list shows objects of the past, and each list shows another
/// moment. All other requests have their effect on the present objects.
pub(crate) fn server(world: &Shared, seed: u64, lags: &Arc<AtomicBool>) -> Server {
    let lags = Arc::clone(lags);
    let world = Shared::clone(world);
    let past = Mutex::new(Past { random: StdRng::seed_from_u64(seed), objects: VecDeque::new() });
    Arc::new(move |request| {
        let mut world = world.lock().unwrap();
        let mut past = past.lock().unwrap();
        past.note(&world.objects);
        let answer = match request.verb {
            Verb::List if lags.load(Ordering::Relaxed) => past.list(request),
            _ => world.answer(request),
        };
        past.note(&world.objects);
        answer
    })
}

struct Past {
    random: StdRng,
    /// The objects after each change, the oldest first.
    objects: VecDeque<Objects>,
}

impl Past {
    fn note(&mut self, now: &Objects) {
        if self.objects.back().is_none_or(|last| last.revision() != now.revision()) {
            self.objects.push_back(now.clone());
        }
        let oldest = now.now - SignedDuration::from_secs(SECONDS);
        while self.objects.get(1).is_some_and(|next| next.now <= oldest) {
            self.objects.pop_front();
        }
    }

    fn list(&mut self, request: &Request) -> Answer {
        let at = self.random.random_range(0..self.objects.len());
        self.objects[at].clone().answer(request)
    }
}
