//! The members that answer the leader.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Tracks which members answer this one while it leads.
#[derive(Default)]
pub(crate) struct Activity(Mutex<Answers>);

#[derive(Default)]
struct Answers {
    /// The term in which this member leads, and the time when that was first noted.
    term: Option<(u64, Instant)>,
    /// By member. A member that has not had time to answer is absent.
    members: BTreeMap<u64, Answering>,
    is_complete: bool,
}

/// Whether a member answers.
#[derive(Clone, Copy, Debug)]
struct Answering {
    answers: bool,
    /// Start of the current state; `None` for a member that has always answered.
    since: Option<Instant>,
}

impl Activity {
    /// The members that answer. A member that has failed to answer in this term must have answered
    /// for `time` since then.
    pub(crate) fn active_for(&self, time: Duration, now: Instant) -> BTreeSet<u64> {
        let answers = self.0.lock();
        let active = answers.members.iter().filter(|(_, member)| {
            let is_long = |since| now.saturating_duration_since(since) >= time;
            member.answers && member.since.is_none_or(is_long)
        });
        active.map(|(id, _)| *id).collect()
    }

    /// Whether this member leads in `term`, and it is known for every member whether it answers.
    pub(crate) fn is_complete(&self, term: u64) -> bool {
        let answers = self.0.lock();
        answers.is_complete && answers.term.is_some_and(|(known, _)| known == term)
    }

    /// Records which members answer in a term. A new leader waits for an election timeout before it
    /// takes a member's silence for a failure: a member that answers by then counts as having
    /// always answered.
    pub(super) fn note(
        &self,
        term: u64,
        answering: &BTreeMap<u64, bool>,
        election_timeout: Duration,
        now: Instant,
    ) {
        let mut noted = self.0.lock();
        if noted.term.is_none_or(|(known, _)| known != term) {
            *noted = Answers { term: Some((term, now)), ..Answers::default() };
        }
        let lasted = |since| now.saturating_duration_since(since);
        let is_new = noted.term.is_some_and(|(_, since)| lasted(since) < election_timeout);
        let members = &mut noted.members;
        members.retain(|id, _| answering.contains_key(id));
        for (id, answers) in answering {
            if is_new && !answers && !members.contains_key(id) {
                continue;
            }
            let is_known = members.contains_key(id);
            let known = members.entry(*id).or_insert(Answering { answers: *answers, since: None });
            if known.answers != *answers || !is_known && !answers {
                let member = format!("{id:x}");
                if *answers {
                    tracing::info!(member, "a member answers again")
                } else {
                    tracing::warn!(member, "a member does not answer")
                }
                *known = Answering { answers: *answers, since: Some(now) };
            }
        }
        noted.is_complete = noted.members.len() == answering.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Milliseconds, term, whether members 2 and 3 answer; expected: completeness, the active
    /// members, and those active for long.
    type Line = (u64, u64, [bool; 2], bool, &'static [u64], &'static [u64]);

    #[test]
    fn a_new_leader_gives_others_time_to_answer() {
        let activity = Activity::default();
        let start = Instant::now();
        let election_timeout = Duration::from_secs(1);
        let long = Duration::from_secs(5);
        let script: [Line; 9] = [
            // Member 3 is still unknown.
            (0, 1, [true, false], false, &[2], &[2]),
            (900, 1, [true, false], false, &[2], &[2]),
            // Member 3 counts as having always answered.
            (950, 1, [true, true], true, &[2, 3], &[2, 3]),
            (2000, 1, [true, false], true, &[2], &[2]),
            // Member 3 failed to answer before.
            (3000, 1, [true, true], true, &[2, 3], &[2]),
            (7999, 1, [true, true], true, &[2, 3], &[2]),
            (8000, 1, [true, true], true, &[2, 3], &[2, 3]),
            // In a new term, member 2 is unknown again.
            (9000, 2, [false, true], false, &[3], &[3]),
            // The election timeout is over, so member 2 counts as silent.
            (10_000, 2, [false, true], true, &[3], &[3]),
        ];
        for (at, term, [two, three], is_complete, active, healthy) in script {
            let now = start + Duration::from_millis(at);
            activity.note(term, &BTreeMap::from([(2, two), (3, three)]), election_timeout, now);
            assert_eq!(activity.is_complete(term), is_complete, "at {at}");
            assert!(!activity.is_complete(term + 1), "at {at}");
            let active_for = |time| activity.active_for(time, now).into_iter().collect::<Vec<_>>();
            assert_eq!(active_for(Duration::ZERO), active, "at {at}");
            assert_eq!(active_for(long), healthy, "at {at}");
        }
    }
}
