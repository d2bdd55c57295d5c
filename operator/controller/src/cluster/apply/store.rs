//! Steps that change the members of the store.

use super::super::step::Step;
use super::hand::Hand;
use crate::error::Error;
use crate::members::{Address, Request};

/// Asks the store for a change of its members.
pub(super) async fn change(hand: &Hand<'_>, step: &Step) -> Result<(), Error> {
    let answers = &hand.seen.answers;
    let speaker = || answers.speaker().ok_or_else(|| Error::Missing("a leader".to_owned()));
    let (request, at): (Request, &Address) = match step {
        Step::AddLearner { peer_url, configuration, .. } => {
            let configuration = *configuration;
            (Request::AddLearner { peer_url: peer_url.clone(), configuration }, speaker()?)
        }
        Step::Promote { id, configuration, .. } => {
            (Request::Promote { id: *id, configuration: *configuration }, speaker()?)
        }
        Step::RemoveFromStore { id, configuration, .. } => {
            (Request::Remove { id: *id, configuration: *configuration }, speaker()?)
        }
        Step::MoveLeader { from, id, .. } => {
            let at = answers.addresses.get(from);
            let at = at.ok_or_else(|| Error::Missing(format!("the address of {from}")))?;
            (Request::MoveLeader { to: *id }, at)
        }
        _ => return Ok(()),
    };
    let identity = answers.identity.as_ref();
    let identity = identity.ok_or_else(|| Error::Missing("the operator's Secret".to_owned()))?;
    hand.context.gate.check()?;
    let changed = hand.context.members.change(identity, at, &request).await;
    changed.map_err(|source| Error::Store { doing: step.to_string(), source })
}
