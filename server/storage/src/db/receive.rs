//! Receiving another member's snapshot into a new database file, next to the one in use.
//!
//! ```text
//!   receive ---> add, add, ... ---> finish ---> ReceivedSnapshot ---> Engine::install
//!      ^            |  the stream breaks
//!      +------------+  the next stream continues where it ended
//! ```
//!
//! A partial snapshot outlives its stream, but not the process: the next start removes its file.
//! So receiving needs little memory and no records on disk.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use quorate_core::Fault;

use super::part::{PartError, PartPosition};
use super::partial::PartialSnapshot;
pub use super::partial::{ReceiveError, ReceivedSnapshot};

/// The snapshot that is being received, if any.
#[derive(Default)]
pub(super) struct ReceiveState {
    /// Number of the stream that may add parts.
    stream: u64,
    partial: Option<PartialSnapshot>,
    /// When a stream last used it.
    used: Option<Instant>,
}

impl ReceiveState {
    /// Gives the partial snapshot `id` to a new stream. Drops any other partial snapshot, and
    /// starts a new one with `begin`.
    pub(super) fn open(
        receiving: &Arc<Mutex<Self>>,
        id: &str,
        begin: impl FnOnce() -> Result<PartialSnapshot, Fault>,
    ) -> Result<SnapshotReceiver, ReceiveError> {
        let mut state = receiving.lock();
        state.stream += 1;
        state.used = Some(Instant::now());
        if state.partial.as_ref().is_none_or(|partial| partial.id != id) {
            state.partial = None;
            state.partial = Some(begin()?);
        }
        Ok(SnapshotReceiver { receiving: receiving.clone(), stream: state.stream })
    }

    /// Drops the partial snapshot if no stream has used it for `age`.
    pub(super) fn drop_old(&mut self, age: Duration) {
        if self.partial.is_some() && self.used.is_none_or(|used| used.elapsed() >= age) {
            tracing::info!("dropped a partial snapshot");
            self.drop_partial();
        }
    }

    /// Drops the partial snapshot.
    pub(super) fn drop_partial(&mut self) {
        self.stream += 1;
        self.partial = None;
    }

    fn partial(&mut self, stream: u64) -> Result<&mut PartialSnapshot, ReceiveError> {
        if self.stream != stream {
            return Err(ReceiveError::TakenOver);
        }
        self.used = Some(Instant::now());
        self.partial.as_mut().ok_or(ReceiveError::TakenOver)
    }
}

/// A stream's access to the snapshot that is being received. Dropping it keeps the received parts.
pub struct SnapshotReceiver {
    receiving: Arc<Mutex<ReceiveState>>,
    stream: u64,
}

impl SnapshotReceiver {
    /// The position after the last received part, from which the sender must continue.
    ///
    /// # Errors
    /// [`ReceiveError::TakenOver`].
    pub fn position(&self) -> Result<PartPosition, ReceiveError> {
        Ok(self.receiving.lock().partial(self.stream)?.position.clone())
    }

    /// Bytes of the parts received so far.
    ///
    /// # Errors
    /// [`ReceiveError::TakenOver`].
    pub fn bytes(&self) -> Result<u64, ReceiveError> {
        Ok(self.receiving.lock().partial(self.stream)?.bytes)
    }

    /// Adds the next part. Returns the bytes of all parts received so far. Blocks while it writes
    /// to disk.
    ///
    /// # Errors
    /// Another stream has taken over, the part is refused, or it cannot be stored.
    pub fn add(&mut self, content: &[u8]) -> Result<u64, ReceiveError> {
        let mut receiving = self.receiving.lock();
        let partial = receiving.partial(self.stream)?;
        let added = partial.add(content).map(|()| partial.bytes);
        if matches!(added, Err(ReceiveError::Storage(_))) {
            receiving.drop_partial();
        }
        added
    }

    /// Makes the snapshot complete and durable, after the last part was added. It is not in use
    /// yet.
    ///
    /// # Errors
    /// Another stream has taken over, parts are missing, or the snapshot cannot be stored.
    pub fn finish(self) -> Result<ReceivedSnapshot, ReceiveError> {
        let mut receiving = self.receiving.lock();
        let partial = receiving.partial(self.stream)?;
        if !partial.is_complete() {
            let parts = partial.position.parts;
            return Err(PartError::MissingParts(parts).into());
        }
        let partial = receiving.partial.take().expect("`partial` returned it");
        drop(receiving);
        partial.finish()
    }
}
