//! Replays every answered operation on the model.

use super::evaluate::{evaluate, without_headers};
use super::explain::Explained;
use super::model::Model;
use super::violation::{Rule, Violation, ensure};
use crate::history::{Operation, Request};

/// Checks that every response agrees with the state of the store at the revision of the response.
/// Returns how many responses were compared.
pub(super) fn check(
    operations: &[Operation],
    model: &Model,
    explained: &Explained,
) -> Result<usize, Violation> {
    let mut replayed = 0;
    for (place, operation) in operations.iter().enumerate() {
        let Some(response) = operation.response() else { continue };
        let Some(revision) = operation.revision() else { continue };
        ensure(revision <= model.revision(), Rule::LostWrite, || {
            let last = model.revision();
            format!("the last revision is {last}, but a later one was seen in {operation}")
        })?;
        let base = explained.written(place).map_or(revision, |written| written - 1);
        if base < model.compacted() {
            // The response came in this period, so the revision was not compacted when the period
            // began.
            let what = format!("revision {base} was compacted long before {operation}");
            return Err(Violation::new(Rule::MovedBack, what));
        }
        let Some(evaluated) = evaluate(model, &operation.request, base) else { continue };
        replayed += 1;
        let due = evaluated.response;
        let found = without_headers(response);
        ensure(due == found, Rule::WrongAnswer, || {
            let difference = difference(&format!("{due:?}"), &format!("{found:?}"));
            format!("at revision {base} the store held something else, {difference}; {operation}")
        })?;
        let wrote = explained.written(place).is_some() || evaluated.changes.is_empty();
        ensure(wrote, Rule::WrongEffect, || {
            let revoked = matches!(operation.request, Request::LeaseRevoke(_));
            let what = if revoked { "keys of the lease were left" } else { "nothing was written" };
            format!("{what} by {operation}")
        })?;
    }
    Ok(replayed)
}

/// The surroundings of the first difference of two texts.
fn difference(due: &str, found: &str) -> String {
    const AROUND: usize = 160;
    let same = due.bytes().zip(found.bytes()).take_while(|(a, b)| a == b).count();
    let part = |text: &str| {
        let start = same.saturating_sub(AROUND / 2);
        let bytes = text.as_bytes();
        let end = (same + AROUND).min(bytes.len());
        String::from_utf8_lossy(&bytes[start.min(end)..end]).into_owned()
    };
    format!("due: ..{}.., answered: ..{}..", part(due), part(found))
}
