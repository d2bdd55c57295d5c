//! Who leads, as far as can be known here and now.
//!
//! openraft's leader goes on being one in its own eyes while it reaches nobody, and its followers
//! go on following one that is gone until they elect another. For clients neither counts: a leader
//! without a quorum leads nobody, and a leader that was not heard of for an election timeout is
//! none.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use openraft::Raft;
use openraft::async_runtime::{Instant as _, WatchReceiver};
use parking_lot::Mutex;
use quorate_core::planted::{self, Mistake};
use tokio::sync::watch;

use crate::consensus::RaftStatus;
use crate::network::links::Flow;
use crate::request::RequestError;
use crate::state_machine::StateMachine;
use crate::types::{Peer, StoredMembership, TypeConfig, Vote};

/// The members in the raft membership, and whether each is without a vote.
pub(crate) type Peers = BTreeMap<u64, (Peer, bool)>;

/// What this member heard of leaders, and when it last did.
pub(crate) struct Heard {
    pub(crate) reigns: Reigns,
    start: Instant,
    /// Milliseconds since `start`; `NEVER` at first: whom the log names may be gone.
    at: AtomicU64,
}

/// Nothing was heard yet.
const NEVER: u64 = u64::MAX;

impl Heard {
    /// Nothing was heard yet.
    pub(crate) fn new() -> Self {
        Self { reigns: Reigns::new(), start: Instant::now(), at: AtomicU64::new(NEVER) }
    }

    /// Notes a message from `from`, sent under `vote`.
    pub(crate) fn note(&self, from: u64, vote: &Vote) {
        if vote.committed && vote.leader_id.voted_for == from {
            self.at.store(millis(self.start.elapsed()), Ordering::Relaxed);
        }
    }

    fn silence(&self) -> Duration {
        match self.at.load(Ordering::Relaxed) {
            NEVER => Duration::MAX,
            heard => self.start.elapsed().saturating_sub(Duration::from_millis(heard)),
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

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
    fn new() -> Self {
        let absent = Some(Instant::now());
        Self(Mutex::new(Reign { last: None, elected: None, returned: None, absent }))
    }

    /// A leader is seen. Noted before anybody can act on it.
    fn seen(&self, leader: u64, term: u64) {
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
    fn unseen(&self) {
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

/// Which members answer this one while it leads.
#[derive(Default)]
pub(crate) struct Activity(Mutex<Answers>);

#[derive(Default)]
struct Answers {
    /// The term in which this member leads, and when that was first seen.
    term: Option<(u64, Instant)>,
    /// Nothing is known of those who have had no time to answer yet.
    links: BTreeMap<u64, Link>,
    is_complete: bool,
}

/// How a member answers.
#[derive(Clone, Copy, Debug)]
struct Link {
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
    fn note(&self, term: u64, answering: &BTreeMap<u64, bool>, patience: Duration) {
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
            let link = links.entry(*id).or_insert(Link { answers: *answers, since: None });
            if link.answers != *answers || !is_known && !answers {
                let member = format!("{id:x}");
                match answers {
                    true => tracing::info!(member, "a member answers again"),
                    false => tracing::warn!(member, "a member does not answer"),
                }
                *link = Link { answers: *answers, since: Some(Instant::now()) };
            }
        }
        noted.is_complete = noted.links.len() == answering.len();
    }
}

/// Carries what the raft reports into a status, until it stops.
pub(crate) struct Follower {
    pub(crate) raft: Raft<TypeConfig, StateMachine>,
    pub(crate) heard: std::sync::Arc<Heard>,
    pub(crate) activity: std::sync::Arc<Activity>,
    pub(crate) heartbeat: Duration,
    pub(crate) election_timeout: Duration,
    pub(crate) status: watch::Sender<RaftStatus>,
    pub(crate) peers: watch::Sender<Peers>,
}

impl Follower {
    /// Follows until the raft stops.
    pub(crate) async fn run(self) {
        // These change with the leader and the membership alone, not with every entry.
        let mut changes = self.raft.server_metrics();
        let mut ticks = tokio::time::interval(self.heartbeat);
        let mut known = None;
        loop {
            {
                let metrics = changes.borrow_watched();
                let membership = &metrics.membership_config;
                if known != *membership.log_id() {
                    known = *membership.log_id();
                    self.peers.send_replace(peers_of(membership));
                }
            }
            let now = self.now();
            if let Some(leader) = now.leader {
                self.heard.reigns.seen(leader, now.term);
            }
            self.status.send_if_modified(|old| std::mem::replace(old, now) != now);
            if now.leader.is_none() {
                self.heard.reigns.unseen();
            }
            tokio::select! {
                changed = changes.changed() => if changed.is_err() { return },
                _ = ticks.tick() => {}
            }
        }
    }

    fn now(&self) -> RaftStatus {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let term = metrics.vote.leader_id.term;
        let voters = metrics.membership_config.membership().voter_ids().count();
        let leader = match metrics.current_leader {
            Some(leader) if leader != metrics.id => {
                (self.heard.silence() < self.election_timeout).then_some(leader)
            }
            Some(leader) => {
                self.note_activity(metrics.id, term, metrics.heartbeat.as_ref());
                let acked = metrics.last_quorum_acked.as_ref();
                let is_confirmed = acked.is_some_and(|at| at.elapsed() < self.election_timeout);
                (is_confirmed || voters == 1).then_some(leader)
            }
            None => None,
        };
        RaftStatus { term, leader }
    }

    fn note_activity(
        &self,
        me: u64,
        term: u64,
        heartbeats: Option<&BTreeMap<u64, Option<openraft::alias::SerdeInstantOf<TypeConfig>>>>,
    ) {
        // Whether it answers itself, says nothing of the others.
        let others = heartbeats.into_iter().flatten().filter(|(id, _)| **id != me);
        let answering = others.map(|(id, acked)| {
            let answers = acked.as_ref().is_some_and(|at| at.elapsed() < self.election_timeout);
            (*id, answers)
        });
        self.activity.note(term, &answering.collect(), self.election_timeout);
    }
}

/// When a heartbeat was sent that a quorum has answered.
type Acked = openraft::alias::SerdeInstantOf<TypeConfig>;

/// Numbers of heartbeats.
#[derive(Clone, Copy, Debug)]
struct Periods {
    /// So many without an answer are too many.
    patience: u32,
    /// So many are held back then, before as many are sent again.
    silence: u32,
}

impl Periods {
    /// Half an election timeout of patience, as that is how long followers rely on a leader; and of
    /// silence three halves, as after one they rely on nobody and after two they elect.
    fn new(election_timeout: Duration, interval: Duration) -> Self {
        let half = (election_timeout / 2).as_millis().div_ceil(interval.as_millis().max(1));
        let half = u32::try_from(half).unwrap_or(u32::MAX / 4).max(1);
        Self { patience: half, silence: 3 * half }
    }
}

/// Heartbeats of a leader that no quorum has answered.
#[derive(Debug, Default)]
struct Unanswered {
    /// The heartbeat that was answered last; none by a leader that is new.
    acked: Option<Acked>,
    /// Those sent, or held back, since.
    count: u32,
}

impl Unanswered {
    /// Takes the next heartbeat into account; whether it is to be held back.
    ///
    /// What counts is heartbeats and not time: whoever was paused begins to wait when it goes on.
    fn holds(&mut self, acked: Option<&Acked>, periods: Periods) -> bool {
        if self.acked.as_ref() != acked {
            *self = Self { acked: acked.copied(), count: 0 };
        }
        self.count += 1;
        // Those who follow a new leader write its name to their disks first.
        let patience = if acked.is_some() { periods.patience } else { 2 * periods.patience };
        let beyond = self.count.checked_sub(patience + 1);
        beyond.is_some_and(|beyond| (beyond / periods.silence).is_multiple_of(2))
    }
}

/// Has the leader send its heartbeats, until the raft stops: openraft sends them as rarely as it
/// gives up waiting for a reply, and a reply may take longer than the time between two.
///
/// A leader that no quorum answers is silent for a while, so that those who hear it can elect
/// another one together with those who do not. `flow` holds everything back that says that it
/// leads; openraft's own way to hold back heartbeats alone goes by time, and would cost the
/// leadership of each one that was paused for half an election timeout.
pub(crate) async fn beat(
    raft: Raft<TypeConfig, StateMachine>,
    election_timeout: Duration,
    interval: Duration,
    flow: &watch::Sender<Flow>,
) {
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let periods = Periods::new(election_timeout, interval);
    let mut unanswered = Unanswered::default();
    loop {
        ticks.tick().await;
        let (leads, is_silent) = {
            let metrics = raft.metrics();
            let metrics = metrics.borrow_watched();
            let leads = metrics.current_leader == Some(metrics.id);
            if !leads || metrics.membership_config.membership().voter_ids().eq([metrics.id]) {
                unanswered = Unanswered::default();
                (leads, false)
            } else {
                let holds = unanswered.holds(metrics.last_quorum_acked.as_ref(), periods);
                (leads, holds && !planted::has(Mistake::BeatAlone))
            }
        };
        flow.send_if_modified(|flow| {
            std::mem::replace(&mut flow.is_silent, is_silent) != is_silent
        });
        if leads && !is_silent && raft.trigger().heartbeat().await.is_err() {
            return;
        }
    }
}

/// The members of a membership.
pub(crate) fn peers_of(stored: &StoredMembership) -> Peers {
    let membership = stored.membership();
    let voters: BTreeSet<u64> = membership.voter_ids().collect();
    let nodes = membership.nodes();
    nodes.map(|(id, peer)| (*id, (peer.clone(), !voters.contains(id)))).collect()
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

    #[test]
    fn a_leader_that_nobody_answers_is_silent_by_turns() {
        let periods = Periods::new(Duration::from_secs(1), Duration::from_millis(100));
        assert_eq!((periods.patience, periods.silence), (5, 15));
        let mut unanswered = Unanswered::default();
        let mut held = |count| (0..count).filter(|_| unanswered.holds(None, periods)).count();
        assert_eq!((held(10), held(15), held(15), held(15)), (0, 15, 0, 15));
    }

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
