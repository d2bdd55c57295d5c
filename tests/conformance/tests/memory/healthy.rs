//! A client that does nothing wrong while others do.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use prost::Message;
use quorate_proto::etcdserverpb as pb;
use quorate_test_conformance::raw::Connection;
use quorate_test_support::server::Server;

use super::{PUT, succeeded};

/// How long its puts take alone, before anything else happens.
const ALONE: Duration = Duration::from_secs(1);

/// Puts one small value after the other until it is asked how that went.
pub(super) struct Healthy {
    attack: Arc<AtomicBool>,
    end: Arc<AtomicBool>,
    puts: JoinHandle<[Vec<Duration>; 2]>,
}

impl Healthy {
    /// Begins, and returns when it has been alone for a while.
    pub(super) fn start(server: &Server) -> Self {
        let (attack, end) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let (address, attacked, ends) = (server.address(), attack.clone(), end.clone());
        let puts = std::thread::spawn(move || {
            super::run(async move {
                let connection = Connection::open(&address).await;
                let put = pb::PutRequest { key: "healthy".into(), ..Default::default() };
                let put = [put.encode_to_vec().into()];
                let mut took = [Vec::new(), Vec::new()];
                while !ends.load(Ordering::Relaxed) {
                    let is_attacked = attacked.load(Ordering::Relaxed);
                    let begun = Instant::now();
                    succeeded(&connection.method(PUT, &put).await);
                    took[usize::from(is_attacked)].push(begun.elapsed());
                }
                took
            })
        });
        std::thread::sleep(ALONE);
        attack.store(true, Ordering::Relaxed);
        Self { attack, end, puts }
    }

    /// Ends; every put must have succeeded. Says how long they took.
    pub(super) fn finish(self, attack: &str) {
        self.attack.store(false, Ordering::Relaxed);
        self.end.store(true, Ordering::Relaxed);
        let [alone, attacked] = self.puts.join().unwrap().map(|mut took| {
            took.sort_unstable();
            took.get(took.len() * 99 / 100).copied().unwrap_or_default()
        });
        eprintln!("{attack}: 99% of puts within {attacked:?}, alone within {alone:?}");
    }
}
