//! Clients of this member that wait for the answers to forwarded commands.

use std::collections::BTreeMap;
use std::fmt::Debug;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::consensus::Answer;

/// Identifies a forwarded command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ProposalId {
    /// The member whose client waits for the answer.
    pub(crate) member: u64,
    /// A number that the member chose.
    pub(crate) sequence: u64,
}

impl ProposalId {
    pub(crate) const LEN: usize = 16;
}

/// It is unknown whether the command was applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct UnknownOutcome;

/// Receives the answer to a forwarded command. If it is dropped without an answer, the command was
/// not and never will be applied.
pub(crate) type Waiter = oneshot::Sender<Result<Answer, UnknownOutcome>>;

/// The waiters for forwarded commands.
#[derive(Default)]
pub(crate) struct Waiters(Mutex<Expected>);

#[derive(Default)]
struct Expected {
    /// The term in which each command may enter the log, and its waiter, by sequence number.
    all: BTreeMap<u64, (u64, Waiter)>,
    /// The term of the last applied entry.
    term: u64,
}

impl Waiters {
    /// Removes and returns the waiter for command `sequence`.
    pub(crate) fn take(&self, sequence: u64) -> Option<Waiter> {
        Some(self.0.lock().all.remove(&sequence)?.1)
    }

    /// Records that an entry of `term` and all entries before it are applied. Drops the waiters of
    /// earlier terms: their commands will never be applied.
    pub(crate) fn applied(&self, term: u64) {
        let mut waiting = self.0.lock();
        if waiting.term < term {
            waiting.term = term;
            waiting.all.retain(|_, (within, _)| *within >= term);
        }
    }

    /// Records that a snapshot, which ends with an entry of `term`, replaced the state. It does not
    /// show which forwarded commands it includes, so every waiter gets [`UnknownOutcome`].
    pub(crate) fn replaced(&self, term: u64) {
        let mut waiting = self.0.lock();
        waiting.term = waiting.term.max(term);
        for (_, waiter) in std::mem::take(&mut waiting.all).into_values() {
            // The client may have stopped waiting.
            waiter.send(Err(UnknownOutcome)).ok();
        }
    }

    /// Registers a waiter; `None` if an entry of a later term than `term` is applied already.
    pub(crate) fn register(
        &self,
        sequence: u64,
        term: u64,
        waiter: Waiter,
    ) -> Option<WaiterGuard<'_>> {
        let mut waiting = self.0.lock();
        if waiting.term > term {
            return None;
        }
        waiting.all.insert(sequence, (term, waiter));
        Some(WaiterGuard { waiters: self, sequence })
    }
}

/// A registered waiter. Dropping it removes the waiter.
pub(crate) struct WaiterGuard<'a> {
    waiters: &'a Waiters,
    sequence: u64,
}

impl Drop for WaiterGuard<'_> {
    fn drop(&mut self) {
        self.waiters.take(self.sequence);
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot::error::TryRecvError;

    use super::*;

    #[test]
    fn waiters_learn_the_outcome_of_their_commands() {
        let waiters = Waiters::default();
        let wait = |sequence, term| {
            let (sender, receiver) = oneshot::channel();
            waiters.register(sequence, term, sender).map(|guard| (guard, receiver))
        };
        let (_first, mut first) = wait(1, 4).expect("it is early enough");
        let (_second, mut second) = wait(2, 5).expect("it is early enough");
        waiters.applied(4);
        assert_eq!(first.try_recv(), Err(TryRecvError::Empty), "it may still be applied");
        waiters.applied(5);
        assert_eq!(first.try_recv(), Err(TryRecvError::Closed), "it will never be applied");
        assert_eq!(second.try_recv(), Err(TryRecvError::Empty), "it may still be applied");
        assert!(wait(3, 4).is_none(), "it is too late");
        waiters.replaced(6);
        assert_eq!(second.try_recv(), Ok(Err(UnknownOutcome)), "the outcome is unknown");
        assert!(wait(4, 5).is_none(), "the snapshot is of a later term");
        assert!(waiters.take(2).is_none());
    }
}
