//! Limits what writes may add between two checks of the disks.
//!
//! A fast client fills a small disk between two checks. So a write claims its bytes before it is
//! proposed, from an allowance that the last check granted. If that is used up, the write waits for
//! the next check.

use std::fmt::Debug;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

/// `1 / ALLOWED_PART` of the free space above the wanted space may be claimed until the next check:
/// a byte is written to the log and up to twice to the database, and the log prepares segments.
const ALLOWED_PART: u64 = 8;
/// `1 / MARGIN_PART` of the margin may be claimed as well, so that writes go on until the disk is
/// short.
const MARGIN_PART: u64 = 8;

/// Claimed bytes, and the allowance.
#[derive(Debug, Default)]
pub(crate) struct Claims {
    state: Mutex<State>,
    /// Signalled when a check is needed.
    wanted: Notify,
    /// Signalled after each check, and when a claim ends while others wait.
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// Bytes that may be claimed until the next check; 0 before the first one.
    allowed: u64,
    /// Bytes claimed by writes in progress.
    claimed: u64,
    /// Bytes written since the last check began.
    written: u64,
    /// Number of waiting claims.
    waiting: usize,
}

impl State {
    fn taken(&self) -> u64 {
        self.claimed.saturating_add(self.written)
    }

    /// A claim above the allowance is admitted alone.
    fn admits(&self, bytes: u64) -> bool {
        self.taken() == 0 || self.taken().saturating_add(bytes) <= self.allowed
    }
}

/// Bytes that may be claimed until the next check of a disk. `wanted` includes `margin`.
pub(crate) fn allowance(free: u64, wanted: u64, margin: u64) -> u64 {
    free.saturating_sub(wanted) / ALLOWED_PART + margin / MARGIN_PART
}

impl Claims {
    /// Claims the bytes that a write adds. Waits for checks while the allowance is used up.
    ///
    /// # Cancel safety
    /// Nothing is claimed when the future is dropped.
    pub(crate) async fn claim(self: &Arc<Self>, bytes: u64) -> Claim {
        loop {
            if let Some(claim) = self.try_claim(bytes) {
                return claim;
            }
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let _waits = self.wait();
            // A check or another claim may have ended just before.
            if let Some(claim) = self.try_claim(bytes) {
                return claim;
            }
            changed.await;
        }
    }

    fn try_claim(self: &Arc<Self>, bytes: u64) -> Option<Claim> {
        let mut state = self.state.lock();
        if state.admits(bytes) {
            state.claimed += bytes;
            return Some(Claim { claims: self.clone(), bytes });
        }
        // Otherwise a check changes nothing: another claim must end first.
        if state.written > 0 {
            self.wanted.notify_one();
        }
        None
    }

    fn wait(&self) -> Waits<'_> {
        self.state.lock().waiting += 1;
        Waits(self)
    }

    /// Notes bytes that were written, claimed here or not: many come from other members.
    pub(crate) fn note(&self, bytes: u64) {
        let mut state = self.state.lock();
        state.written += bytes;
        if state.taken() > state.allowed {
            self.wanted.notify_one();
        }
    }

    /// Waits until a check is needed.
    pub(super) async fn wanted(&self) {
        self.wanted.notified().await;
    }

    /// Bytes written so far, to be passed to [`Claims::looked`]: a check that begins now sees them.
    pub(super) fn written(&self) -> u64 {
        self.state.lock().written
    }

    /// Notes the end of a check and the new allowance. `written` was read when the check began.
    pub(super) fn looked(&self, written: u64, allowed: u64) {
        let mut state = self.state.lock();
        state.allowed = allowed;
        state.written -= written;
        drop(state);
        self.changed.notify_waiters();
    }
}

/// Counts a waiting claim until it is dropped.
struct Waits<'a>(&'a Claims);

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.state.lock().waiting -= 1;
    }
}

/// Disk space for one write. When it is dropped, the bytes count as written.
#[derive(Debug)]
#[must_use = "the room is claimed as long as this lives"]
pub struct Claim {
    claims: Arc<Claims>,
    bytes: u64,
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut state = self.claims.state.lock();
        state.claimed -= self.bytes;
        state.written += self.bytes;
        let is_awaited = state.waiting > 0;
        drop(state);
        if is_awaited {
            self.claims.changed.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::FutureExt as _;

    use super::*;

    fn limited(allowed: u64) -> Arc<Claims> {
        let claims = Arc::new(Claims::default());
        claims.looked(0, allowed);
        claims
    }

    fn now(claims: &Arc<Claims>, bytes: u64) -> Option<Claim> {
        claims.claim(bytes).now_or_never()
    }

    #[test]
    fn what_is_under_way_and_what_was_written_counts() {
        let claims = limited(100);
        let first = now(&claims, 60).unwrap();
        assert!(now(&claims, 41).is_none());
        drop(now(&claims, 40).unwrap());
        assert!(now(&claims, 1).is_none());
        // A check sees what was written before it began, and nothing after that.
        let written = claims.written();
        claims.note(30);
        claims.looked(written, 100);
        assert!(now(&claims, 11).is_none());
        drop(first);
        assert!(now(&claims, 11).is_none());
        claims.looked(claims.written(), 100);
        assert!(now(&claims, 100).is_some());
    }

    #[test]
    fn what_is_larger_than_the_allowance_goes_alone() {
        let claims = limited(100);
        let large = now(&claims, 500).unwrap();
        assert!(now(&claims, 1).is_none());
        drop(large);
        claims.looked(claims.written(), 0);
        assert!(now(&claims, 1).is_some());
    }

    #[test]
    fn before_the_first_look_one_is_admitted() {
        let claims = Arc::new(Claims::default());
        let first = now(&claims, 1 << 40).unwrap();
        assert!(now(&claims, 1).is_none());
        drop(first);
        claims.looked(claims.written(), u64::MAX);
        claims.note(1 << 40);
        assert!(now(&claims, 1 << 40).is_some());
    }

    #[tokio::test]
    async fn a_look_is_wanted_when_it_helps() {
        let claims = limited(100);
        claims.note(100);
        assert!(claims.wanted().now_or_never().is_none());
        claims.note(1);
        claims.wanted().await;
        claims.looked(claims.written(), 100);
        let under_way = now(&claims, 100).unwrap();
        let mut waiting = pin!(claims.claim(50));
        assert!(futures_util::poll!(waiting.as_mut()).is_pending());
        assert!(claims.wanted().now_or_never().is_none(), "a look would see nothing new");
        drop(under_way);
        assert!(futures_util::poll!(waiting.as_mut()).is_pending());
        claims.wanted().await;
        claims.looked(claims.written(), 100);
        assert_eq!(waiting.await.bytes, 50);
        let state = claims.state.lock();
        assert_eq!((state.claimed, state.waiting), (0, 0));
    }

    #[test]
    fn the_allowance_shrinks_with_what_is_free() {
        let allowed = [1000, 100, 50].map(|free| allowance(free << 20, 100 << 20, 32 << 20) >> 20);
        assert_eq!(allowed, [116, 4, 4]);
    }
}
