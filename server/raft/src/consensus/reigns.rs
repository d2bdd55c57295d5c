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
    pub(super) fn new() -> Self {
        let absent = Some(Instant::now());
        Self(Mutex::new(Reign { last: None, elected: None, returned: None, absent }))
    }

    /// A leader is seen. Noted before anybody can act on it.
    pub(super) fn seen(&self, leader: u64, term: u64) {
        let mut reign = self.0.lock();
        let now = Some(Instant::now());
        if reign.last != Some((leader, term)) {
            *reign =
                Reign { last: Some((leader, term)), elected: now, returned: None, absent: None };
        } else if reign.absent.take().is_some() {
            reign.returned = now;
        }
    }

    /// Nobody is seen to lead. Noted when nobody acts on anything else any more.
    pub(super) fn unseen(&self) {
        self.0.lock().absent.get_or_insert_with(Instant::now);
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

    #[test]
    fn why_there_is_no_answer() {
        let (reigns, timeout) = (Reigns::new(), Duration::from_secs(3600));
        let why = |started| reigns.unanswered(started, timeout);
        let alone = Instant::now();
        assert_eq!(why(alone), RequestError::NotTaken);
        reigns.seen(2, 1);
        let first = Instant::now();
        assert_eq!(why(alone), RequestError::LeaderFailed);
        assert_eq!(reigns.unanswered(alone, Duration::ZERO), RequestError::Timeout, "long before");
        assert_eq!(why(first), RequestError::Timeout);
        reigns.unseen();
        assert_eq!(why(first), RequestError::Timeout, "the leader may have taken it");
        assert_eq!(why(Instant::now()), RequestError::NotTaken);
        reigns.seen(2, 1);
        assert_eq!(why(first), RequestError::ConnectionLost);
        assert_eq!(why(Instant::now()), RequestError::Timeout);
        reigns.seen(3, 2);
        assert_eq!(why(first), RequestError::LeaderFailed);
    }
}
