//! Which members answer this one while it leads.

use std::collections::BTreeMap;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Which members answer this one while it leads.
#[derive(Default)]
pub(crate) struct Activity(Mutex<Answers>);

#[derive(Default)]
struct Answers {
    /// The term in which this member leads, and when that was first seen.
    term: Option<(u64, Instant)>,
    /// Nothing is known of those who have had no time to answer yet.
    links: BTreeMap<u64, Answering>,
    is_complete: bool,
}

/// How a member answers.
#[derive(Clone, Copy, Debug)]
struct Answering {
    answers: bool,
    /// Since when it does, when it once did not.
    since: Option<Instant>,
}

impl Activity {
    /// Whether `member` answers, and has for `time` unless it was never seen not to.
    pub(crate) fn is_active_for(&self, member: u64, time: Duration) -> bool {
        self.0.lock().links.get(&member).is_some_and(|link| {
            link.answers && link.since.is_none_or(|since| since.elapsed() >= time)
        })
    }

    /// Whether `member` answers.
    pub(crate) fn is_active(&self, member: u64) -> bool {
        self.is_active_for(member, Duration::ZERO)
    }

    /// Whether in this term of its own it is known of all members whether they answer.
    pub(crate) fn is_complete(&self, term: u64) -> bool {
        let answers = self.0.lock();
        answers.is_complete && answers.term.is_some_and(|(known, _)| known == term)
    }

    /// Notes who answers in a term. A leader who is new, and has not heard of somebody yet, does
    /// not take that for silence before it has lasted for `patience`: whoever answers until then is
    /// one that always did.
    pub(super) fn note(&self, term: u64, answering: &BTreeMap<u64, bool>, patience: Duration) {
        let mut noted = self.0.lock();
        if noted.term.is_none_or(|(known, _)| known != term) {
            *noted = Answers { term: Some((term, Instant::now())), ..Answers::default() };
        }
        let is_new = noted.term.is_some_and(|(_, since)| since.elapsed() < patience);
        let links = &mut noted.links;
        links.retain(|id, _| answering.contains_key(id));
        for (id, answers) in answering {
            if is_new && !answers && !links.contains_key(id) {
                continue;
            }
            let is_known = links.contains_key(id);
            let link = links.entry(*id).or_insert(Answering { answers: *answers, since: None });
            if link.answers != *answers || !is_known && !answers {
                let member = format!("{id:x}");
                match answers {
                    true => tracing::info!(member, "a member answers again"),
                    false => tracing::warn!(member, "a member does not answer"),
                }
                *link = Answering { answers: *answers, since: Some(Instant::now()) };
            }
        }
        noted.is_complete = noted.links.len() == answering.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_leader_gives_others_time_to_answer() {
        let (activity, long) = (Activity::default(), Duration::from_secs(3600));
        let note = |term, two, three, patience| {
            activity.note(term, &BTreeMap::from([(2, two), (3, three)]), patience);
        };
        note(1, true, false, long);
        assert!(activity.is_active_for(2, long) && !activity.is_active(3));
        assert!(!activity.is_complete(1), "nothing is known of the third");
        note(1, true, true, long);
        assert!(activity.is_complete(1) && !activity.is_complete(2));
        assert!(activity.is_active_for(3, long), "it has always answered");
        note(1, true, false, long);
        note(1, true, true, long);
        assert!(activity.is_active(3) && !activity.is_active_for(3, long), "it did not once");
        note(2, true, false, Duration::ZERO);
        assert!(activity.is_complete(2) && !activity.is_active(3), "it had its time");
    }
}
