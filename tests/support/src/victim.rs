//! A server that is killed again and again.

use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::server::Server;

/// A server that is SIGKILLed at once and then every so often, and started again each time.
/// Dropping it ends that, and the server.
#[derive(Debug)]
pub struct Victim {
    /// Held by who kills it until it is ready again.
    server: Arc<Mutex<Server>>,
    stop: Option<Sender<()>>,
    killer: Option<JoinHandle<usize>>,
}

impl Victim {
    /// Begins to kill a server that is ready.
    pub fn new(server: Server, every: Duration) -> Self {
        let server = Arc::new(Mutex::new(server));
        let (stop, stopped) = mpsc::channel();
        let victim = server.clone();
        let killer = std::thread::spawn(move || {
            let mut kills = 0;
            loop {
                let next = Instant::now() + every;
                {
                    let mut victim = victim.lock().expect("only the killer panics with it");
                    victim.kill();
                    victim.start();
                }
                kills += 1;
                let left = next.saturating_duration_since(Instant::now());
                if stopped.recv_timeout(left) != Err(RecvTimeoutError::Timeout) {
                    return kills;
                }
            }
        });
        Self { server, stop: Some(stop), killer: Some(killer) }
    }

    /// The server, ready; it is not killed as long as the answer lives.
    pub fn spared(&self) -> MutexGuard<'_, Server> {
        // Who kills it may have panicked: that is said at the end.
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends it: returns how often the server was killed, and the server, which runs.
    ///
    /// # Panics
    /// When the server did not become ready once.
    pub fn finish(mut self) -> (usize, Server) {
        let kills = self.end().expect("it is ended once").expect("it became ready each time");
        let server = self.server.clone();
        drop(self);
        let server = Arc::into_inner(server).expect("its killer is gone");
        (kills, server.into_inner().expect("its killer did not panic"))
    }

    fn end(&mut self) -> Option<std::thread::Result<usize>> {
        drop(self.stop.take());
        self.killer.take().map(JoinHandle::join)
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        // Who drops it without asking how it went is panicking already.
        let _outcome = self.end();
    }
}
