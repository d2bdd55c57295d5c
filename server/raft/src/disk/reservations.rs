//! Limits the bytes that writes may add between two checks of the disks.
//!
//! A fast client can fill a small disk between two checks. So a write reserves its bytes before it
//! is proposed, from an allowance that the last check granted. Once the allowance is used up, the
//! write waits for the next check.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

/// `1 / ALLOWED_PART` of the free space above the wanted space may be reserved until the next
/// check. It is only a part, because each byte is written to the log and up to twice to the
/// database, and the log also prepares segments.
const ALLOWED_PART: u64 = 8;
/// `1 / MARGIN_PART` of the margin may be reserved as well, so that writes go on until the disk is
/// short.
const MARGIN_PART: u64 = 8;

/// Reserved bytes, and the allowance.
#[derive(Debug, Default)]
pub(crate) struct Reservations {
    state: Mutex<State>,
    /// Signalled when a check is needed.
    wanted: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// Bytes that may be reserved until the next check; 0 before the first one.
    allowed: u64,
    /// Bytes reserved by writes in progress.
    reserved: u64,
    /// Bytes written since the last check began.
    written: u64,
    /// The waiting reservations, in order of arrival. Each is signalled when its turn may have
    /// come.
    waiting: BTreeMap<u64, Arc<Notify>>,
    /// The number of the next reservation that waits.
    next: u64,
}

impl State {
    fn taken(&self) -> u64 {
        self.reserved.saturating_add(self.written)
    }

    /// Whether a reservation may be tried now. While reservations wait, only the first of them may
    /// be tried, so that small reservations cannot pass a large one forever. `number` is `None` for
    /// a reservation that does not wait yet.
    fn is_turn(&self, number: Option<u64>) -> bool {
        self.waiting.keys().next().copied() == number
    }

    /// Lets the first waiting reservation try again.
    fn wake_first(&self) {
        if let Some(turn) = self.waiting.values().next() {
            turn.notify_one();
        }
    }

    /// Whether a reservation of `bytes` may be made. A reservation larger than the allowance is
    /// admitted only while nothing else is reserved and the written bytes are within the allowance.
    /// The written bytes need not be 0, because the writes of other members may never pause.
    fn admits(&self, bytes: u64) -> bool {
        if bytes > self.allowed {
            return self.reserved == 0 && self.written <= self.allowed;
        }
        self.taken().saturating_add(bytes) <= self.allowed
    }
}

/// Bytes that may be reserved until the next check of a disk. `wanted` includes `margin`.
pub(crate) fn allowance(free: u64, wanted: u64, margin: u64) -> u64 {
    free.saturating_sub(wanted) / ALLOWED_PART + margin / MARGIN_PART
}

impl Reservations {
    /// Reserves the bytes that a write adds. Waits for checks while the allowance is used up.
    ///
    /// # Cancel safety
    /// If the future is dropped, no bytes stay reserved.
    pub(crate) async fn reserve(self: &Arc<Self>, bytes: u64) -> Reservation {
        if let Some(reservation) = self.try_reserve(bytes, None) {
            return reservation;
        }
        let waits = self.wait();
        loop {
            if let Some(reservation) = self.try_reserve(bytes, Some(waits.number)) {
                return reservation;
            }
            waits.turn.notified().await;
        }
    }

    /// Reserves bytes if there is room. `number` is the number of the reservation if it waits
    /// already.
    fn try_reserve(self: &Arc<Self>, bytes: u64, number: Option<u64>) -> Option<Reservation> {
        let mut state = self.state.lock();
        if !state.is_turn(number) {
            return None;
        }
        if state.admits(bytes) {
            state.reserved += bytes;
            return Some(Reservation { reservations: self.clone(), bytes });
        }
        // A check helps only if bytes were written. Otherwise another reservation must end first.
        if state.written > 0 {
            self.wanted.notify_one();
        }
        None
    }

    fn wait(&self) -> Waits<'_> {
        let mut state = self.state.lock();
        let number = state.next;
        state.next += 1;
        let turn = Arc::new(Notify::new());
        state.waiting.insert(number, turn.clone());
        Waits { reservations: self, number, turn }
    }

    /// Counts bytes as written, whether they were reserved here or not: many come from other
    /// members.
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

    /// Bytes written since the last check began. A check that begins now sees them, and passes
    /// their number to [`Reservations::checked`] when it ends.
    pub(super) fn written(&self) -> u64 {
        self.state.lock().written
    }

    /// Ends a check and sets the new allowance. `written` was read when the check began.
    pub(super) fn checked(&self, written: u64, allowed: u64) {
        let mut state = self.state.lock();
        state.allowed = allowed;
        state.written -= written;
        state.wake_first();
    }
}

/// A place among the waiting reservations, until it is dropped.
struct Waits<'a> {
    reservations: &'a Reservations,
    number: u64,
    turn: Arc<Notify>,
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        let mut state = self.reservations.state.lock();
        state.waiting.remove(&self.number);
        state.wake_first();
    }
}

/// Disk space for one write. When it is dropped, the bytes count as written.
#[derive(Debug)]
#[must_use = "the space is reserved as long as this lives"]
pub struct Reservation {
    reservations: Arc<Reservations>,
    bytes: u64,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let mut state = self.reservations.state.lock();
        state.reserved -= self.bytes;
        state.written += self.bytes;
        state.wake_first();
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::FutureExt as _;

    use super::*;

    fn limited(allowed: u64) -> Arc<Reservations> {
        let reservations = Arc::new(Reservations::default());
        reservations.checked(0, allowed);
        reservations
    }

    fn now(reservations: &Arc<Reservations>, bytes: u64) -> Option<Reservation> {
        reservations.reserve(bytes).now_or_never()
    }

    #[test]
    fn bytes_under_way_and_written_bytes_count() {
        let reservations = limited(100);
        let first = now(&reservations, 60).unwrap();
        assert!(now(&reservations, 41).is_none());
        drop(now(&reservations, 40).unwrap());
        assert!(now(&reservations, 1).is_none());
        // A check sees the bytes written before it began, and no later ones.
        let written = reservations.written();
        reservations.note(30);
        reservations.checked(written, 100);
        assert!(now(&reservations, 11).is_none());
        drop(first);
        assert!(now(&reservations, 11).is_none());
        reservations.checked(reservations.written(), 100);
        assert!(now(&reservations, 100).is_some());
    }

    #[test]
    fn a_write_larger_than_the_allowance_goes_alone() {
        let reservations = limited(100);
        let large = now(&reservations, 500).unwrap();
        assert!(now(&reservations, 1).is_none());
        drop(large);
        reservations.checked(reservations.written(), 0);
        assert!(now(&reservations, 1).is_some());
    }

    #[tokio::test]
    async fn small_reservations_do_not_pass_a_large_one() {
        let reservations = limited(100);
        let first = now(&reservations, 60).unwrap();
        let mut large = pin!(reservations.reserve(500));
        assert!(futures_util::poll!(large.as_mut()).is_pending());
        let mut small = pin!(reservations.reserve(1));
        assert!(futures_util::poll!(small.as_mut()).is_pending(), "it waits behind the large one");
        drop(first);
        reservations.checked(reservations.written(), 100);
        reservations.note(30);
        let large = large.await;
        assert!(futures_util::poll!(small.as_mut()).is_pending());
        drop(large);
        reservations.checked(reservations.written(), 100);
        drop(small.await);
        assert!(now(&reservations, 1).is_some());
    }

    #[tokio::test]
    async fn the_next_reservation_follows_one_that_is_given_up() {
        let reservations = limited(100);
        let _first = now(&reservations, 60).unwrap();
        let mut small = pin!(reservations.reserve(1));
        {
            let mut large = pin!(reservations.reserve(500));
            assert!(futures_util::poll!(large.as_mut()).is_pending());
            assert!(futures_util::poll!(small.as_mut()).is_pending());
        }
        assert_eq!(small.await.bytes, 1);
    }

    #[test]
    fn before_the_first_check_one_is_admitted() {
        let reservations = Arc::new(Reservations::default());
        let first = now(&reservations, 1 << 40).unwrap();
        assert!(now(&reservations, 1).is_none());
        drop(first);
        reservations.checked(reservations.written(), u64::MAX);
        reservations.note(1 << 40);
        assert!(now(&reservations, 1 << 40).is_some());
    }

    #[tokio::test]
    async fn a_check_is_wanted_when_it_helps() {
        let reservations = limited(100);
        reservations.note(100);
        assert!(reservations.wanted().now_or_never().is_none());
        reservations.note(1);
        reservations.wanted().await;
        reservations.checked(reservations.written(), 100);
        let under_way = now(&reservations, 100).unwrap();
        let mut waiting = pin!(reservations.reserve(50));
        assert!(futures_util::poll!(waiting.as_mut()).is_pending());
        assert!(reservations.wanted().now_or_never().is_none(), "a check would see nothing new");
        drop(under_way);
        assert!(futures_util::poll!(waiting.as_mut()).is_pending());
        reservations.wanted().await;
        reservations.checked(reservations.written(), 100);
        assert_eq!(waiting.await.bytes, 50);
        let state = reservations.state.lock();
        assert_eq!((state.reserved, state.waiting.len()), (0, 0));
    }

    #[test]
    fn the_allowance_shrinks_with_the_free_space() {
        let allowed = [1000, 100, 50].map(|free| allowance(free << 20, 100 << 20, 32 << 20) >> 20);
        assert_eq!(allowed, [116, 4, 4]);
    }
}
