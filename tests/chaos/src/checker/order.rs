//! Real-time order: the facts that were known before the invocation of an operation.
//!
//! Once any client has seen a revision, every later request of any client must be answered at that
//! revision or a later one, and every later write must get a larger one.

use std::collections::BTreeMap;

use super::explain::Explained;
use super::violation::{Rule, Violation, ensure};
use crate::history::{History, Moment, Observed, Operation, Outcome, Response};

/// The ids of a member and the largest numbers that it has reported.
#[derive(Clone, Copy, Debug, Default)]
struct Heights {
    /// Cluster id and member id; 0 means not yet reported.
    ids: (u64, u64),
    revision: i64,
    term: u64,
    index: u64,
    applied: u64,
}

impl Heights {
    fn raise(&mut self, other: Self) {
        self.ids = self.ids.max(other.ids);
        self.revision = self.revision.max(other.revision);
        self.term = self.term.max(other.term);
        self.index = self.index.max(other.index);
        self.applied = self.applied.max(other.applied);
    }
}

/// The facts that are known from the checked periods.
#[derive(Clone, Debug, Default)]
pub(super) struct Order {
    revision: i64,
    members: BTreeMap<usize, Heights>,
    last_term: LastTerm,
}

/// The largest term reported so far, and when it was first reported.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LastTerm {
    pub(super) term: u64,
    pub(super) since: Option<Moment>,
}

/// The facts that were known at the invocation of an operation.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Floor {
    /// The largest revision reported by any member.
    pub(super) revision: i64,
    /// The last term reported by any member.
    pub(super) last_term: LastTerm,
    /// The reports of the operation's member.
    member: Heights,
}

impl Floor {
    /// The largest revision that the member had reported.
    pub(super) fn member_revision(&self) -> i64 {
        self.member.revision
    }
}

/// When each revision was first reported.
#[derive(Clone, Debug)]
pub(super) struct Reported {
    /// Ascending in both.
    revisions: Vec<(i64, Moment)>,
    /// The end of the audit: every revision was known by then.
    until: Moment,
}

impl Reported {
    /// A moment by which a revision had been written.
    pub(super) fn written_by(&self, revision: i64) -> Moment {
        let place = self.revisions.partition_point(|(told, _)| *told < revision);
        self.revisions.get(place).map_or(self.until, |(_, at)| *at)
    }
}

/// A step of the history.
enum Step {
    /// The operation at this place is invoked.
    Invoke(usize),
    /// A client received this report of a member.
    Heard(usize, Heights),
}

impl Order {
    /// The floor of each operation, by place, and when revisions were first reported. Takes in
    /// everything that the history reports.
    pub(super) fn floors(&mut self, history: &History) -> (Vec<Floor>, Reported) {
        let mut floors = vec![Floor::default(); history.operations.len()];
        let mut told = Reported { revisions: Vec::new(), until: history.audit.until };
        for (at, step) in steps(history) {
            match step {
                Step::Invoke(place) => {
                    let member = history.operations[place].member;
                    let member = self.members.get(&member).copied().unwrap_or_default();
                    floors[place] =
                        Floor { revision: self.revision, last_term: self.last_term, member };
                }
                Step::Heard(member, said) => {
                    if said.revision > self.revision {
                        self.revision = said.revision;
                        told.revisions.push((said.revision, at));
                    }
                    if said.term > self.last_term.term {
                        self.last_term = LastTerm { term: said.term, since: Some(at) };
                    }
                    self.members.entry(member).or_default().raise(said);
                }
            }
        }
        (floors, told)
    }

    /// Checks that no two members share an id: a replacement must get a new one.
    pub(super) fn check_identities(&self) -> Result<(), Violation> {
        let mut owners = BTreeMap::new();
        for (member, Heights { ids, .. }) in &self.members {
            let owner = if *ids == (0, 0) { None } else { owners.insert(*ids, *member) };
            ensure(owner.is_none(), Rule::WrongIdentity, || {
                format!("{ids:x?} is member {member}, and was member {owner:?} before")
            })?;
        }
        Ok(())
    }
}

/// All steps of a history, in order.
fn steps(history: &History) -> Vec<(Moment, Step)> {
    let mut steps: Vec<(Moment, Step)> = Vec::new();
    for (place, operation) in history.operations.iter().enumerate() {
        steps.push((operation.invoked, Step::Invoke(place)));
        if let Some(said) = heights_of(operation) {
            steps.push((operation.returned, Step::Heard(operation.member, said)));
        }
    }
    for observation in &history.observations {
        if let Observed::Received(told) = &observation.what {
            let last = told.events.last().and_then(|event| event.kv.as_ref());
            let last = last.map_or(0, |kv| kv.mod_revision);
            // Every watch message names a revision: events, progress and creation.
            let named = told.header.as_ref().map_or(0, |header| header.revision);
            let said = Heights { revision: last.max(named), ..Heights::default() };
            steps.push((observation.at, Step::Heard(observation.member, said)));
        }
    }
    steps.sort_by_key(|(at, _)| at.order);
    steps
}

/// The report of a response about its member.
fn heights_of(operation: &Operation) -> Option<Heights> {
    let response = operation.response()?;
    let header = response.header()?;
    let ids = (header.cluster_id, header.member_id);
    let revision = header.revision;
    let term = header.raft_term;
    let mut said = Heights { ids, revision, term, ..Heights::default() };
    if let Response::Status(status) = response {
        (said.index, said.applied) = (status.raft_index, status.raft_applied_index);
    }
    Some(said)
}

/// Checks every operation against its floor.
pub(super) fn check(
    history: &History,
    floors: &[Floor],
    explained: &Explained,
) -> Result<(), Violation> {
    for (place, operation) in history.operations.iter().enumerate() {
        let floor = &floors[place];
        if let Some(revision) = explained.written(place) {
            ensure(revision > floor.revision, Rule::WriteOutOfOrder, || {
                format!("{} was known before, but {revision} is of {operation}", floor.revision)
            })?;
        }
        if !matches!(operation.outcome, Outcome::Answered(_)) {
            continue;
        }
        let Some(said) = heights_of(operation) else { continue };
        let stale = !operation.request.is_local() && said.revision < floor.revision;
        ensure(!stale, Rule::StaleRead, || {
            format!("revision {} was known before {operation}", floor.revision)
        })?;
        let known = floor.member;
        ensure(known.ids == (0, 0) || said.ids == known.ids, Rule::WrongIdentity, || {
            format!("the member was {:x?} before {operation}", known.ids)
        })?;
        let back = said.revision < known.revision || said.term < known.term;
        let status = matches!(operation.response(), Some(Response::Status(_)));
        let back = back || (status && (said.index < known.index || said.applied < known.applied));
        ensure(!back, Rule::MovedBack, || {
            format!("the member had said {known:?} before {operation}")
        })?;
    }
    Ok(())
}
