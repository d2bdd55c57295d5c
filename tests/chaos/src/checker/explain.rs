//! Matches operations and revisions.
//!
//! Exactly one operation or lease expiry must have written each revision, and every acknowledged
//! write must have written its acknowledged revision.

use std::collections::BTreeMap;

use super::evaluate::evaluate;
use super::leases::Leases;
use super::model::{Change, Model};
use super::order::{Floor, Reported};
use super::violation::{Rule, Violation, ensure};
use crate::history::{History, Operation, Outcome, Request};
use crate::workload::value::writer;

/// The operations and expiries that wrote revisions.
#[derive(Clone, Debug, Default)]
pub(super) struct Explained {
    /// The revision that each operation wrote, by place; `None` if it wrote nothing.
    written: Vec<Option<i64>>,
    /// Revisions that a lease expiry wrote, with the lease.
    pub(super) expired: BTreeMap<i64, i64>,
}

impl Explained {
    /// The revision that an operation wrote.
    pub(super) fn written(&self, place: usize) -> Option<i64> {
        self.written.get(place).copied().flatten()
    }

    /// The number of operations of unknown outcome that were applied, from a place on.
    pub(super) fn unknown_written(&self, operations: &[Operation], from: usize) -> usize {
        let written = operations.iter().zip(&self.written).skip(from);
        written.filter(|(operation, written)| operation.is_unknown() && written.is_some()).count()
    }
}

/// Explains the revisions above `after`, which the model must hold already.
pub(super) fn explain(
    history: &History,
    after: i64,
    model: &Model,
    leases: &Leases,
    (floors, told): (&[Floor], &Reported),
) -> Result<Explained, Violation> {
    let operations = &history.operations;
    let mut acknowledged = acknowledged(operations, after, model.revision())?;
    let by_id: BTreeMap<u64, usize> =
        operations.iter().enumerate().map(|(place, operation)| (operation.id, place)).collect();
    let mut explained = Explained { written: vec![None; operations.len()], ..Default::default() };
    let mut open: Vec<(i64, Vec<usize>)> = Vec::new();
    for revision in after + 1..=model.revision() {
        let changes = model.changes(revision);
        if let Some(place) = acknowledged.remove(&revision) {
            has_effect(&operations[place], revision, model)?;
            explained.written[place] = Some(revision);
            continue;
        }
        let candidates = match labelled(changes) {
            Some(id) => vec![candidate(id, &by_id, operations, revision, model)?],
            None => unlabelled(operations, revision, model, floors),
        };
        open.push((revision, candidates));
    }
    for (revision, place) in assign(&open) {
        match place {
            Some(place) => explained.written[place] = Some(revision),
            None => {
                let lease = expired(revision, model, leases, told)?;
                explained.expired.insert(revision, lease);
            }
        }
    }
    Ok(explained)
}

/// The acknowledged writes by their revisions.
fn acknowledged(
    operations: &[Operation],
    after: i64,
    last: i64,
) -> Result<BTreeMap<i64, usize>, Violation> {
    let mut acknowledged = BTreeMap::new();
    for (place, operation) in operations.iter().enumerate() {
        let Some(response) = operation.response().filter(|r| r.says_written()) else { continue };
        let revision = response.header().map_or(0, |header| header.revision);
        ensure(revision > after, Rule::WriteOutOfOrder, || {
            format!("revision {after} was there before {operation}")
        })?;
        ensure(revision <= last, Rule::LostWrite, || {
            format!("the last revision is {last}, but there was {operation}")
        })?;
        if let Some(other) = acknowledged.insert(revision, place) {
            let other: &Operation = &operations[other];
            let what = format!("revision {revision} is of {other} and of {operation}");
            return Err(Violation::new(Rule::SharedRevision, what));
        }
    }
    Ok(acknowledged)
}

/// Checks that a revision holds exactly the changes of the operation acknowledged with it.
fn has_effect(operation: &Operation, revision: i64, model: &Model) -> Result<(), Violation> {
    if does(&operation.request, revision, model) {
        return Ok(());
    }
    let found = labelled(model.changes(revision));
    let other = found.is_some_and(|id| id != operation.id);
    let (rule, what) = if other {
        (Rule::LostWrite, "another change has it")
    } else {
        (Rule::WrongEffect, "its change is not the one that was asked for")
    };
    let changes = shown(model.changes(revision));
    let what = format!("revision {revision} was acknowledged, but {what}: {changes}; {operation}");
    Err(Violation::new(rule, what))
}

/// Whether a request makes exactly the changes at a revision.
fn does(request: &Request, revision: i64, model: &Model) -> bool {
    let found = model.changes(revision);
    let Some(evaluated) = evaluate(model, request, revision - 1) else { return false };
    if matches!(request, Request::LeaseRevoke(_)) {
        return same_keys(&evaluated.changes, found);
    }
    evaluated.changes == found
}

/// Whether both delete the same keys, in any order.
fn same_keys(due: &[Change], found: &[Change]) -> bool {
    let all = |changes: &[Change]| {
        let mut keys: Vec<_> = changes.iter().map(|c| (c.key.clone(), c.after.version)).collect();
        keys.sort_unstable();
        keys
    };
    !due.is_empty() && all(due) == all(found)
}

/// The operation id in the values of a revision.
fn labelled(changes: &[Change]) -> Option<u64> {
    changes.iter().find_map(|change| writer(&change.after.value))
}

/// The operation `id`, the only one that can have written values with this id.
fn candidate(
    id: u64,
    by_id: &BTreeMap<u64, usize>,
    operations: &[Operation],
    revision: i64,
    model: &Model,
) -> Result<usize, Violation> {
    let Some(place) = by_id.get(&id).copied() else {
        let changes = shown(model.changes(revision));
        let what = format!("no operation requested revision {revision}: {changes}");
        return Err(Violation::new(Rule::NeverRequested, what));
    };
    let operation = &operations[place];
    ensure(operation.is_unknown(), Rule::MisplacedWrite, || {
        format!("revision {revision} has the change of {operation}")
    })?;
    ensure(does(&operation.request, revision, model), Rule::WrongEffect, || {
        let changes = shown(model.changes(revision));
        format!("revision {revision} is not what was asked for: {changes}; {operation}")
    })?;
    Ok(place)
}

/// The operations that can have written a revision of deletions, which carry no id: those of
/// unknown outcome, and revocations acknowledged with this revision.
fn unlabelled(
    operations: &[Operation],
    revision: i64,
    model: &Model,
    floors: &[Floor],
) -> Vec<usize> {
    let all = operations.iter().enumerate().filter(|(place, operation)| {
        let possible = match &operation.outcome {
            Outcome::Unknown(_) => operation.request.may_write(),
            Outcome::Answered(_) => {
                let revocation = matches!(operation.request, Request::LeaseRevoke(_));
                revocation && operation.revision() == Some(revision)
            }
            Outcome::Refused(..) | Outcome::NotSent(_) => false,
        };
        possible && revision > floors[*place].revision && does(&operation.request, revision, model)
    });
    all.map(|(place, _)| place).collect()
}

/// Assigns each revision one of its candidates and each candidate at most one revision, for as many
/// revisions as possible (augmenting paths).
fn assign(open: &[(i64, Vec<usize>)]) -> Vec<(i64, Option<usize>)> {
    let mut owner: BTreeMap<usize, usize> = BTreeMap::new();
    for wanting in 0..open.len() {
        find_owner(wanting, open, &mut owner, &mut Vec::new());
    }
    let mut chosen = vec![None; open.len()];
    for (place, number) in owner {
        chosen[number] = Some(place);
    }
    open.iter().zip(chosen).map(|((revision, _), place)| (*revision, place)).collect()
}

fn find_owner(
    wanting: usize,
    open: &[(i64, Vec<usize>)],
    owner: &mut BTreeMap<usize, usize>,
    tried: &mut Vec<usize>,
) -> bool {
    for place in &open[wanting].1 {
        if tried.contains(place) {
            continue;
        }
        tried.push(*place);
        let free = match owner.get(place).copied() {
            None => true,
            Some(other) => find_owner(other, open, owner, tried),
        };
        if free {
            owner.insert(*place, wanting);
            return true;
        }
    }
    false
}

/// The lease whose expiry wrote a revision.
fn expired(
    revision: i64,
    model: &Model,
    leases: &Leases,
    told: &Reported,
) -> Result<i64, Violation> {
    let changes = model.changes(revision);
    let lease = changes.first().and_then(|change| change.before.as_ref()).map_or(0, |v| v.lease);
    let mut keys: Vec<_> = changes.iter().map(|change| change.key.clone()).collect();
    keys.sort_unstable();
    let ended = changes.iter().all(|change| change.after.is_tombstone());
    let whole = lease != 0 && ended && keys == model.attached(lease, revision - 1);
    let text = shown(changes);
    let twice = labelled(changes).is_some();
    ensure(whole && !twice, Rule::NeverRequested, || {
        let often = if twice { "for the second time" } else { "that no operation requested" };
        format!("at revision {revision} something was done {often}: {text}")
    })?;
    leases.may_expire(lease, told.written_by(revision))?;
    Ok(lease)
}

/// Changes as text for a violation.
fn shown(changes: &[Change]) -> String {
    let all = changes.iter().map(|Change { key, after, .. }| {
        let key = String::from_utf8_lossy(key);
        match writer(&after.value) {
            Some(id) => format!("{key} put by operation {id}, {} bytes", after.value.len()),
            None => format!("{key} deleted"),
        }
    });
    all.collect::<Vec<_>>().join(", ")
}
