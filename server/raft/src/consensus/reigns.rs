//! When leaders were seen to come and go.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::ground::request::RequestError;

/// When leaders were seen to come and go.
pub(crate) struct Reigns(Mutex<Reign>);

struct Reign {
    /// The leader seen last, and its term.
    last: Option<(u64, u64)>,
    /// When it was first seen.
    elected: Option<Instant>,
    /// When it was seen again after it had not been.
    returned: Option<Instant>,
    /// Since when nobody has been seen to lead.
    absent: Option<Instant>,
}

impl Reigns {
    /// Nobody was seen to lead yet.
    pub(super) fn new(now: Instant) -> Self {
        let absent = Some(now);
        Self(Mutex::new(Reign { last: None, elected: None, returned: None, absent }))
    }

    /// A leader is seen. Noted before anybody can act on it.
    pub(super) fn seen(&self, leader: u64, term: u64, now: Instant) {
        let mut reign = self.0.lock();
        let now = Some(now);
        if reign.last != Some((leader, term)) {
            *reign =
                Reign { last: Some((leader, term)), elected: now, returned: None, absent: None };
        } else if reign.absent.take().is_some() {
            reign.returned = now;
        }
    }

    /// Nobody is seen to lead. Noted when nobody acts on anything else any more.
    pub(super) fn unseen(&self, now: Instant) {
        self.0.lock().absent.get_or_insert(now);
    }

    /// Why a proposal that was made at `started` has no answer now, as etcd tells it.
    pub(crate) fn unanswered(&self, started: Instant, election_timeout: Duration) -> RequestError {
        let reign = self.0.lock();
        let before = |time: Option<Instant>| time.is_some_and(|time| started < time);
        if reign.absent.is_some_and(|since| since <= started) {
            RequestError::NotTaken
        } else if before(reign.elected)
            && reign.elected.is_some_and(|at| at - started < 2 * election_timeout)
        {
            RequestError::LeaderFailed
        } else if reign.absent.is_none() && before(reign.returned) {
            RequestError::ConnectionLost
        } else {
            RequestError::Timeout
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What was seen: a leader with its term, or nobody.
    type Seen = Option<(u64, u64)>;
    /// When what was seen; then, for proposals made at these times, why they have no answer.
    type Line = (u64, Seen, &'static [(u64, RequestError)]);

    #[test]
    fn why_there_is_no_answer() {
        use RequestError::{ConnectionLost, LeaderFailed, NotTaken, Timeout};
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let timeout = Duration::from_secs(10);
        let script: [Line; 5] = [
            (2, Some((2, 1)), &[(1, LeaderFailed), (3, Timeout)]),
            // The leader may have taken it; and there is none for later ones.
            (4, None, &[(3, Timeout), (4, NotTaken), (5, NotTaken)]),
            (6, Some((2, 1)), &[(3, ConnectionLost), (6, Timeout)]),
            (8, Some((3, 2)), &[(3, LeaderFailed), (8, Timeout)]),
            // Two election timeouts are no election.
            (30, Some((4, 3)), &[(8, Timeout), (10, Timeout), (11, LeaderFailed)]),
        ];
        let reigns = Reigns::new(start);
        assert_eq!(reigns.unanswered(at(1), timeout), NotTaken);
        for (when, seen, proposals) in script {
            match seen {
                Some((leader, term)) => reigns.seen(leader, term, at(when)),
                None => reigns.unseen(at(when)),
            }
            for (made, why) in proposals {
                assert_eq!(reigns.unanswered(at(*made), timeout), *why, "{made} s, at {when} s");
            }
        }
    }
}
