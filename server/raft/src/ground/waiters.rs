//! Clients of this member that wait for the answer to a command that another member proposed.

use std::collections::BTreeMap;
use std::fmt::Debug;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::consensus::Answer;

/// Who waits for the answer to a command that another member proposed for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ProposalId {
    /// The member that has the client.
    pub(crate) member: u64,
    /// A number of its own choice.
    pub(crate) sequence: u64,
}

impl ProposalId {
    pub(crate) const LEN: usize = 16;
}

/// Whether a command was carried out is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lost;

/// Who waits for the answer to a forwarded command. Told nothing, it learns that the command was
/// not carried out and never will be.
pub(crate) type Waiter = oneshot::Sender<Result<Answer, Lost>>;

/// Clients of this member that wait for an answer to a forwarded command.
#[derive(Default)]
pub(crate) struct Waiters(Mutex<Expected>);

#[derive(Default)]
struct Expected {
    /// By sequence, with the term in which the command may enter the log.
    all: BTreeMap<u64, (u64, Waiter)>,
    /// The term of the last entry that was applied.
    term: u64,
}

impl Waiters {
    /// Takes out who waits for the answer to command `sequence`.
    pub(crate) fn take(&self, sequence: u64) -> Option<Waiter> {
        Some(self.0.lock().all.remove(&sequence)?.1)
    }

    /// An entry of `term` was applied, and everything before it: what was to come in an earlier
    /// term never will.
    pub(crate) fn applied(&self, term: u64) {
        let mut waiting = self.0.lock();
        if waiting.term < term {
            waiting.term = term;
            waiting.all.retain(|_, (within, _)| *within >= term);
        }
    }

    /// The state was replaced by a later one, whose last entry is of `term`: nobody knows what of
    /// it was asked for here.
    pub(crate) fn replaced(&self, term: u64) {
        let mut waiting = self.0.lock();
        waiting.term = waiting.term.max(term);
        for (_, waiter) in std::mem::take(&mut waiting.all).into_values() {
            // A client that went away is not missed.
            waiter.send(Err(Lost)).ok();
        }
    }

    /// Takes a place; none when it is too late for a command of `term`.
    pub(crate) fn wait(&self, sequence: u64, term: u64, waiter: Waiter) -> Option<Place<'_>> {
        let mut waiting = self.0.lock();
        if waiting.term > term {
            return None;
        }
        waiting.all.insert(sequence, (term, waiter));
        Some(Place { waiters: self, sequence })
    }
}

/// A place among the waiters, given up when it is dropped.
pub(crate) struct Place<'a> {
    waiters: &'a Waiters,
    sequence: u64,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.waiters.take(self.sequence);
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot::error::TryRecvError;

    use super::*;

    #[test]
    fn who_waits_learns_what_became_of_its_command() {
        let waiters = Waiters::default();
        let wait = |sequence, term| {
            let (sender, receiver) = oneshot::channel();
            waiters.wait(sequence, term, sender).map(|place| (place, receiver))
        };
        let (_first, mut first) = wait(1, 4).expect("it is early enough");
        let (_second, mut second) = wait(2, 5).expect("it is early enough");
        waiters.applied(4);
        assert_eq!(first.try_recv(), Err(TryRecvError::Empty), "it may yet come");
        waiters.applied(5);
        assert_eq!(first.try_recv(), Err(TryRecvError::Closed), "it never will");
        assert_eq!(second.try_recv(), Err(TryRecvError::Empty), "it may yet come");
        assert!(wait(3, 4).is_none(), "it is too late");
        waiters.replaced(6);
        assert_eq!(second.try_recv(), Ok(Err(Lost)), "nobody knows");
        assert!(wait(4, 5).is_none(), "what the state was replaced by is later");
        assert!(waiters.take(2).is_none());
    }
}
