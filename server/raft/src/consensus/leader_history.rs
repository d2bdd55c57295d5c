//! The times at which leaders appeared and disappeared.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::ground::request::RequestError;

/// The times at which the last leader appeared and disappeared.
pub(crate) struct LeaderHistory(Mutex<LastLeader>);

/// The last leader seen.
struct LastLeader {
    /// Its id and term; `None` before the first one.
    leader: Option<(u64, u64)>,
    /// When it was first seen.
    elected: Option<Instant>,
    /// When it was seen again after an absence.
    returned: Option<Instant>,
    /// Start of the time without a leader, if there is none now.
    absent: Option<Instant>,
}

impl LeaderHistory {
    /// A record without a leader.
    pub(super) fn new(now: Instant) -> Self {
        let absent = Some(now);
        Self(Mutex::new(LastLeader { leader: None, elected: None, returned: None, absent }))
    }

    /// Records that a leader is seen. Call it before the leader is published, and so before any
    /// request can use it.
    pub(super) fn seen(&self, leader: u64, term: u64, now: Instant) {
        let mut known = self.0.lock();
        let now = Some(now);
        if known.leader != Some((leader, term)) {
            *known = LastLeader {
                leader: Some((leader, term)),
                elected: now,
                returned: None,
                absent: None,
            };
        } else if known.absent.take().is_some() {
            known.returned = now;
        }
    }

    /// Records that there is no leader. Call it after the loss is published, so that no later
    /// request uses the lost leader.
    pub(super) fn unseen(&self, now: Instant) {
        self.0.lock().absent.get_or_insert(now);
    }

    /// Why a proposal made at `started` has no answer now, by etcd's rules.
    pub(crate) fn unanswered(&self, started: Instant, election_timeout: Duration) -> RequestError {
        let known = self.0.lock();
        let before = |time: Option<Instant>| time.is_some_and(|time| started < time);
        if known.absent.is_some_and(|since| since <= started) {
            RequestError::NotTaken
        } else if before(known.elected)
            && known.elected.is_some_and(|at| at - started < 2 * election_timeout)
        {
            RequestError::LeaderFailed
        } else if known.absent.is_none() && before(known.returned) {
            RequestError::ConnectionLost
        } else {
            RequestError::Timeout
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The leader seen, with its term, or none.
    type Seen = Option<(u64, u64)>;
    /// A time, the leader seen then, and the errors expected at that time, by the time of the
    /// proposal.
    type Line = (u64, Seen, &'static [(u64, RequestError)]);

    #[test]
    fn a_missing_answer_has_the_reason_of_etcd() {
        use RequestError::{ConnectionLost, LeaderFailed, NotTaken, Timeout};
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let timeout = Duration::from_secs(10);
        let script: [Line; 5] = [
            (2, Some((2, 1)), &[(1, LeaderFailed), (3, Timeout)]),
            // The lost leader may have taken the first proposal; the later ones had no leader.
            (4, None, &[(3, Timeout), (4, NotTaken), (5, NotTaken)]),
            (6, Some((2, 1)), &[(3, ConnectionLost), (6, Timeout)]),
            (8, Some((3, 2)), &[(3, LeaderFailed), (8, Timeout)]),
            // After two election timeouts, the election is not the cause.
            (30, Some((4, 3)), &[(8, Timeout), (10, Timeout), (11, LeaderFailed)]),
        ];
        let history = LeaderHistory::new(start);
        assert_eq!(history.unanswered(at(1), timeout), NotTaken);
        for (when, seen, proposals) in script {
            match seen {
                Some((leader, term)) => history.seen(leader, term, at(when)),
                None => history.unseen(at(when)),
            }
            for (made, why) in proposals {
                assert_eq!(history.unanswered(at(*made), timeout), *why, "{made} s, at {when} s");
            }
        }
    }
}
