//! A server that is killed repeatedly.

use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::server::Server;

/// A server that is SIGKILLed at once and then at an interval, and restarted after each kill.
/// Dropping it stops the kills and ends the server.
#[derive(Debug)]
pub struct KilledServer {
    /// Locked by the killer from each kill until the server is ready again.
    server: Arc<Mutex<Server>>,
    stop: Option<Sender<()>>,
    killer: Option<JoinHandle<usize>>,
}

impl KilledServer {
    /// Starts to kill `server`, which must be ready.
    pub fn new(server: Server, every: Duration) -> Self {
        let server = Arc::new(Mutex::new(server));
        let (stop, stopped) = mpsc::channel();
        let target = server.clone();
        let killer = std::thread::spawn(move || {
            let mut kills = 0;
            loop {
                let next = Instant::now() + every;
                {
                    let mut target = target.lock().expect("only the killer panics with it");
                    target.kill();
                    target.start();
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

    /// The server, ready. It is not killed while the returned guard lives.
    pub fn pause_kills(&self) -> MutexGuard<'_, Server> {
        // The killer may have panicked; `finish` reports that.
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stops the kills. Returns how often the server was killed, and the server, which is running.
    ///
    /// # Panics
    /// If the server once did not become ready.
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

impl Drop for KilledServer {
    fn drop(&mut self) {
        // Dropped without `finish` only if the test is panicking already.
        let _outcome = self.end();
    }
}
