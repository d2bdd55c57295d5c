//! Real time: what was known before an operation was asked for.
//!
//! Whatever a client was told of a revision, everything that is asked for later, by anybody, must
//! be answered from that revision or a later one; and what is written later gets a larger one.

use std::collections::BTreeMap;

use super::explain::Explained;
use super::violation::{Rule, Violation, ensure};
use crate::history::{History, Moment, Observed, Operation, Outcome, Response};

/// The largest numbers that a member was heard to say, and what it says it is.
#[derive(Clone, Copy, Debug, Default)]
struct Heights {
    /// Cluster id and member id; 0 when they were not heard.
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

/// What is known after the periods that were checked.
#[derive(Clone, Debug, Default)]
pub(super) struct Order {
    revision: i64,
    members: BTreeMap<usize, Heights>,
    reign: Reign,
}

/// The largest term that anybody heard of, and when it was heard of first.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Reign {
    pub(super) term: u64,
    pub(super) since: Option<Moment>,
}

/// What was known when an operation was invoked.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Floor {
    /// The largest revision that anybody knew of.
    pub(super) revision: i64,
    /// The last reign that anybody knew of.
    pub(super) reign: Reign,
    /// What the member had said.
    member: Heights,
}

impl Floor {
    /// The largest revision that the member had spoken of.
    pub(super) fn member_revision(&self) -> i64 {
        self.member.revision
    }
}

/// When it was told first that the store had come to a revision.
#[derive(Clone, Debug)]
pub(super) struct Told {
    /// Ascending in both.
    revisions: Vec<(i64, Moment)>,
    /// When everything was known.
    until: Moment,
}

impl Told {
    /// A moment at which a revision had been written.
    pub(super) fn written_by(&self, revision: i64) -> Moment {
        let place = self.revisions.partition_point(|(told, _)| *told < revision);
        self.revisions.get(place).map_or(self.until, |(_, at)| *at)
    }
}

/// What happens to the floors at a moment.
enum Step {
    /// Operation number so-and-so begins.
    Invoke(usize),
    /// A member said this, and a client heard it.
    Heard(usize, Heights),
}

impl Order {
    /// The floor of each operation, by its place, and when revisions were told of. Everything the
    /// history says is known afterwards.
    pub(super) fn floors(&mut self, history: &History) -> (Vec<Floor>, Told) {
        let mut floors = vec![Floor::default(); history.operations.len()];
        let mut told = Told { revisions: Vec::new(), until: history.audit.until };
        for (at, step) in steps(history) {
            match step {
                Step::Invoke(place) => {
                    let member = history.operations[place].member;
                    let member = self.members.get(&member).copied().unwrap_or_default();
                    floors[place] = Floor { revision: self.revision, reign: self.reign, member };
                }
                Step::Heard(member, said) => {
                    if said.revision > self.revision {
                        self.revision = said.revision;
                        told.revisions.push((said.revision, at));
                    }
                    if said.term > self.reign.term {
                        self.reign = Reign { term: said.term, since: Some(at) };
                    }
                    self.members.entry(member).or_default().raise(said);
                }
            }
        }
        (floors, told)
    }

    /// Checks that no two members are the same: one in the place of another has an id of its own.
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

/// Everything that happens in a history, in its order.
fn steps(history: &History) -> Vec<(Moment, Step)> {
    let mut steps: Vec<(Moment, Step)> = Vec::new();
    for (place, operation) in history.operations.iter().enumerate() {
        steps.push((operation.invoked, Step::Invoke(place)));
        if let Some(said) = said_by(operation) {
            steps.push((operation.returned, Step::Heard(operation.member, said)));
        }
    }
    for observation in &history.observations {
        if let Observed::Told(told) = &observation.what {
            let last = told.events.last().and_then(|event| event.kv.as_ref());
            let last = last.map_or(0, |kv| kv.mod_revision);
            // What a watch is told names a revision, be it an event, progress or its beginning.
            let named = told.header.as_ref().map_or(0, |header| header.revision);
            let said = Heights { revision: last.max(named), ..Heights::default() };
            steps.push((observation.at, Step::Heard(observation.member, said)));
        }
    }
    steps.sort_by_key(|(at, _)| at.order);
    steps
}

/// What a response says of its member.
fn said_by(operation: &Operation) -> Option<Heights> {
    let response = operation.response()?;
    let header = response.header()?;
    let ids = (header.cluster_id, header.member_id);
    let (revision, term) = (header.revision, header.raft_term);
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
        let Some(said) = said_by(operation) else { continue };
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
