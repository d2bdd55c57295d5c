//! Existence and remaining time of leases.
//!
//! Grants write no revision, so two moments bound the life of a lease: from one on it must exist,
//! and from the other on it cannot. Between them, either is allowed. The remaining time is bounded
//! likewise: a new leader restarts the full TTL of every lease and adds a little, but never
//! shortens it.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use quorate_proto::etcdserverpb::{LeaseLeasesResponse, LeaseTimeToLiveResponse};
use tonic::Code;

use super::explain::Explained;
use super::model::Model;
use super::order::{Floor, LastTerm};
use super::violation::{Rule, Violation, ensure};
use crate::history::{History, Moment, Operation, Outcome, Request, Response};
use crate::workload::traffic::SHORT_TTL;

/// Seconds that a new leader adds to the TTL of every lease: an election timeout.
const EXTENSION: i64 = 1;
/// How long an expired lease may exist without a report of a later term: the leader may have lost
/// its followers and started again in the same term.
const OVERDUE: Duration = Duration::from_secs(60);

/// The grant or a renewal of a lease.
#[derive(Clone, Copy, Debug)]
struct Renewal {
    asked: Moment,
    /// When the acknowledgement arrived, if it did.
    done: Option<Moment>,
}

impl Renewal {
    fn of(operation: &Operation) -> Self {
        let done = operation.response().map(|_| operation.returned);
        Self { asked: operation.invoked, done }
    }
}

/// The known life of a lease.
#[derive(Clone, Debug)]
struct Lease {
    /// The granted TTL in seconds.
    ttl: i64,
    /// The grant, followed by all keep-alives that may have renewed the lease.
    renewals: Vec<Renewal>,
    /// From here on the lease is known to exist.
    granted: Option<Moment>,
    /// The invocation of the first revocation.
    revoking: Option<Moment>,
    /// From here on the lease is known to be gone.
    ended: Option<Moment>,
    /// The last revision that can have attached a key to the lease.
    last_revision: Option<i64>,
}

impl Lease {
    fn lasts(&self) -> Duration {
        Duration::from_secs(self.ttl.unsigned_abs())
    }

    /// The invocation of the last acknowledged renewal, or of the grant: the lease cannot expire
    /// before its TTL has passed since then.
    fn renewed(&self) -> Moment {
        let done = self.renewals.iter().rev().find(|renewal| renewal.done.is_some());
        done.unwrap_or(&self.renewals[0]).asked
    }

    fn may_have_expired(&self, at: Moment) -> bool {
        at.elapsed >= self.renewed().elapsed + self.lasts()
    }

    /// Whether the TTL ended long before an operation, however late a leader started to count it.
    fn is_overdue(&self, operation: &Operation, last_term: LastTerm, patience: Duration) -> bool {
        let header = operation.response().and_then(Response::header);
        let Some(since) =
            last_term.since.filter(|_| header.is_some_and(|h| h.raft_term <= last_term.term))
        else {
            // A new leader may just have restarted the TTL.
            return false;
        };
        let asked = self.renewals.iter().filter(|renewal| renewal.asked < operation.invoked);
        let renewed = asked.map(|renewal| renewal.done.unwrap_or(renewal.asked).elapsed);
        let begun = renewed.fold(since.elapsed, Duration::max);
        // A leader can start twice in one term, and a renewal of unknown outcome can be applied
        // late.
        operation.invoked.elapsed > begun + self.lasts() * 2 + OVERDUE + patience
    }

    /// The least remaining time at the end of an operation; `None` when no grant or renewal was
    /// acknowledged before it.
    fn left(&self, operation: &Operation) -> Option<Duration> {
        let before = |renewal: &&Renewal| renewal.done.is_some_and(|at| at < operation.invoked);
        let renewal = self.renewals.iter().rev().find(before)?;
        let passed = operation.returned.elapsed.saturating_sub(renewal.asked.elapsed);
        Some(self.lasts().saturating_sub(passed))
    }

    /// Whether the lease must have existed between two moments.
    fn is_there(&self, from: Moment, to: Moment) -> bool {
        let granted = self.granted.is_some_and(|granted| granted < from);
        let revoking = self.revoking.is_some_and(|revoking| revoking < to);
        granted
            && !revoking
            && self.ended.is_none_or(|ended| ended > to)
            && !self.may_have_expired(to)
    }

    /// Whether the lease cannot have existed after a moment.
    fn is_gone(&self, from: Moment) -> bool {
        self.ended.is_some_and(|ended| ended < from)
    }
}

/// All leases.
#[derive(Clone, Debug, Default)]
pub(super) struct Leases {
    leases: BTreeMap<i64, Lease>,
}

impl Leases {
    /// Records all lease requests. Must run before every check.
    pub(super) fn learn(&mut self, operations: &[Operation]) {
        let heard = operations.iter().filter(|o| !matches!(o.outcome, Outcome::NotSent(_)));
        let mut by_moment: Vec<&Operation> = heard.collect();
        by_moment.sort_by_key(|operation| operation.invoked);
        for operation in by_moment {
            let answer = operation.response();
            match &operation.request {
                Request::LeaseGrant(grant) => {
                    let lease = Lease {
                        ttl: grant.ttl,
                        renewals: vec![Renewal::of(operation)],
                        granted: answer.map(|_| operation.returned),
                        revoking: None,
                        ended: None,
                        last_revision: None,
                    };
                    self.leases.insert(grant.id, lease);
                }
                Request::LeaseRevoke(revoke) => {
                    let Some(lease) = self.leases.get_mut(&revoke.id) else { continue };
                    lease.revoking = lease.revoking.or(Some(operation.invoked));
                    if let Some(revision) = operation.revision() {
                        lease.ended = lease.ended.or(Some(operation.returned));
                        lease.last_revision = Some(revision);
                    }
                }
                Request::LeaseKeepAlive(keep_alive) => {
                    let possible = match answer {
                        Some(Response::LeaseKeepAlive(answer)) => answer.ttl > 0,
                        _ => operation.is_unknown(),
                    };
                    let lease = self.leases.get_mut(&keep_alive.id);
                    if let Some(lease) = lease.filter(|_| possible) {
                        lease.renewals.push(Renewal::of(operation));
                    }
                }
                _ => {}
            }
        }
    }

    /// Checks that a lease can have expired by `seen`, the moment by which its expiry was known.
    pub(super) fn may_expire(&self, id: i64, seen: Moment) -> Result<(), Violation> {
        let lease = self.leases.get(&id);
        let possible = lease.is_some_and(|lease| lease.may_have_expired(seen));
        ensure(possible, Rule::WrongLease, || {
            format!("lease {id} ended before its time: {lease:?}, and it is {seen:?}")
        })
    }

    /// Checks everything that depends on the existence of a lease.
    pub(super) fn check(
        &mut self,
        history: &History,
        after: i64,
        model: &Model,
        explained: &Explained,
        floors: &[Floor],
        patience: Duration,
    ) -> Result<(), Violation> {
        for (revision, id) in &explained.expired {
            if let Some(lease) = self.leases.get_mut(id) {
                lease.last_revision = lease.last_revision.or(Some(*revision));
            }
        }
        for (place, operation) in history.operations.iter().enumerate() {
            if let (Request::LeaseRevoke(revoke), Some(revision)) =
                (&operation.request, explained.written(place))
                && let Some(lease) = self.leases.get_mut(&revoke.id)
            {
                lease.last_revision = Some(revision);
            }
        }
        self.check_attachments(after, model)?;
        for (place, operation) in history.operations.iter().enumerate() {
            self.check_operation(operation, &floors[place], model, patience)?;
        }
        self.resolve_unknown(history, patience);
        Ok(())
    }

    /// No key may be attached to a lease that has ended.
    fn check_attachments(&self, after: i64, model: &Model) -> Result<(), Violation> {
        for revision in after + 1..=model.revision() {
            for change in model.changes(revision) {
                let id = change.after.lease;
                let lease = self.leases.get(&id);
                let alive = id == 0
                    || lease.is_some_and(|l| l.last_revision.is_none_or(|last| revision <= last));
                ensure(alive, Rule::WrongLease, || {
                    format!("revision {revision} attached a key to lease {id}: {lease:?}")
                })?;
            }
        }
        Ok(())
    }

    fn check_operation(
        &self,
        operation: &Operation,
        floor: &Floor,
        model: &Model,
        patience: Duration,
    ) -> Result<(), Violation> {
        let id = operation.request.lease();
        let wrong = |what: &str| {
            let lease = self.leases.get(&id);
            Violation::new(Rule::WrongLease, format!("{what}: {lease:?}; {operation}"))
        };
        let from = operation.invoked;
        let to = operation.returned;
        let is_there = || self.leases.get(&id).is_some_and(|lease| lease.is_there(from, to));
        let over = |lease: &Lease| lease.is_overdue(operation, floor.last_term, patience);
        let is_gone = || self.leases.get(&id).is_none_or(|l| l.is_gone(from) || over(l));
        match (&operation.request, &operation.outcome) {
            (_, Outcome::Refused(Code::NotFound, _)) if id != 0 && is_there() => {
                Err(wrong("a lease that exists was not found"))
            }
            // A member does not check the lease of a put in a branch that is not taken.
            (Request::Txn(_), Outcome::Answered(response)) if !response.says_written() => Ok(()),
            (Request::Put(_) | Request::Txn(_) | Request::LeaseRevoke(_), Outcome::Answered(_))
                if id != 0 && is_gone() =>
            {
                Err(wrong("a lease that is gone was found"))
            }
            (Request::LeaseGrant(grant), Outcome::Answered(Response::LeaseGrant(answer))) => {
                if answer.id == grant.id && answer.ttl == grant.ttl && answer.error.is_empty() {
                    Ok(())
                } else {
                    Err(wrong("a lease other than the requested one was granted"))
                }
            }
            (_, Outcome::Answered(Response::LeaseKeepAlive(answer))) => match answer.ttl {
                _ if answer.id != id => {
                    Err(wrong("a lease other than the requested one was renewed"))
                }
                1.. if is_gone() => Err(wrong("a lease that is gone was renewed")),
                1.. if self.leases.get(&id).is_some_and(|lease| lease.ttl != answer.ttl) => {
                    Err(wrong("a lease was renewed for a TTL other than the granted one"))
                }
                ..=0 if is_there() => Err(wrong("a lease that exists was not renewed")),
                _ => Ok(()),
            },
            (_, Outcome::Answered(Response::LeaseTimeToLive(answer))) => match answer.ttl {
                _ if answer.id != id => Err(wrong("the time of another lease was reported")),
                0.. if is_gone() => Err(wrong("a lease that is gone has a time to live")),
                ..0 if is_there() => Err(wrong("a lease that exists has no time to live")),
                _ => self.check_time(answer, operation, floor.revision, model).map_err(wrong),
            },
            (_, Outcome::Answered(Response::LeaseLeases(answer))) => {
                self.check_list(answer, operation)
            }
            _ => Ok(()),
        }
    }

    fn check_time(
        &self,
        answer: &LeaseTimeToLiveResponse,
        operation: &Operation,
        floor: i64,
        model: &Model,
    ) -> Result<(), &'static str> {
        let Some(lease) = self.leases.get(&answer.id).filter(|_| answer.ttl >= 0) else {
            return Ok(());
        };
        if answer.granted_ttl != lease.ttl {
            return Err("a lease has a TTL other than the granted one");
        }
        if answer.ttl > lease.ttl + EXTENSION {
            return Err("a lease has more time left than it can have been given");
        }
        // The response is rounded to whole seconds.
        let told = Duration::from_secs(answer.ttl.unsigned_abs() + 1);
        if lease.left(operation).is_some_and(|left| told < left) {
            return Err("a lease has less time left than it was given");
        }
        let mut keys: Vec<Bytes> = answer.keys.clone();
        keys.sort_unstable();
        // The member reads the keys at some revision from the one known before to the one in the
        // header.
        let read = answer.header.as_ref().map_or(0, |header| header.revision);
        let from = floor.max(model.compacted());
        if (from..=read).any(|revision| keys == model.attached(answer.id, revision)) {
            Ok(())
        } else {
            Err("a lease has other keys than were attached")
        }
    }

    fn check_list(&self, list: &LeaseLeasesResponse, by: &Operation) -> Result<(), Violation> {
        let listed: Vec<i64> = list.leases.iter().map(|lease| lease.id).collect();
        for (id, lease) in &self.leases {
            let missing = lease.is_there(by.invoked, by.returned) && !listed.contains(id);
            ensure(!missing, Rule::WrongLease, || {
                format!("lease {id} is missing in a list of all: {lease:?}")
            })?;
        }
        for id in listed {
            let lease = self.leases.get(&id);
            let gone = lease.is_none_or(|lease| lease.is_gone(by.invoked));
            ensure(!gone, Rule::WrongLease, || {
                format!("lease {id} cannot be in a list of all: {lease:?}")
            })?;
        }
        Ok(())
    }

    /// Resolves unknown grants and ends by the last lease list of the audit, except for requests so
    /// recent that they may still be applied.
    fn resolve_unknown(&mut self, history: &History, patience: Duration) {
        let now = history.audit.until.elapsed;
        let may_yet = |asked: Moment| asked.elapsed + patience > now;
        let lists = history.operations.iter().filter_map(|operation| match operation.response() {
            Some(Response::LeaseLeases(list)) if operation.invoked > history.audit.since => {
                Some((operation, list))
            }
            _ => None,
        });
        let Some((operation, list)) = lists.max_by_key(|(operation, _)| operation.invoked) else {
            return;
        };
        for (id, lease) in &mut self.leases {
            let listed = list.leases.iter().any(|listed| listed.id == *id);
            if listed {
                lease.granted = lease.granted.or(Some(operation.returned));
                let revoking = lease.revoking.filter(|asked| !may_yet(*asked));
                if revoking.is_some_and(|revoking| revoking < history.audit.since) {
                    // The revocation was not applied.
                    lease.revoking = None;
                }
            } else if lease.granted.is_some() || !may_yet(lease.renewed()) {
                lease.ended = lease.ended.or(Some(operation.returned));
            }
        }
        self.leases.retain(|_, lease| lease.ended.is_none_or(|end| end > history.audit.since));
        for lease in self.leases.values_mut() {
            // Later operations come after all of these, so only the last acknowledged renewal and
            // those after it matter.
            let last = lease.renewals.iter().rposition(|renewal| renewal.done.is_some());
            lease.renewals.drain(..last.unwrap_or(0));
        }
    }

    /// Whether a lease can still exist at a moment and need not expire within a campaign: its TTL
    /// has not passed, or it is a long one that a new leader may have restarted.
    pub(super) fn may_last(&self, id: i64, at: Moment) -> bool {
        let lease = self.leases.get(&id);
        lease.is_some_and(|lease| lease.ttl > SHORT_TTL || !lease.may_have_expired(at))
    }

    /// Leases that must exist at a moment and cannot have expired since their last renewal.
    pub(super) fn lasting(&self, at: Moment) -> Vec<i64> {
        let lasting = self.leases.iter().filter(|(_, lease)| lease.is_there(at, at));
        lasting.map(|(id, _)| *id).collect()
    }
}
