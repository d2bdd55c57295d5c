//! Does one step. Only the requests of this module change anything.

mod hand;
mod objects;
mod secrets;
mod status;
mod store;

use quorate_crd::names::{ANNOTATION_KEPT, LABEL_ROLE, ROLE_VOTER};
use serde_json::json;

pub use status::{record, write_status};

use self::hand::Hand;
use super::observe::Seen;
use super::step::Step;
use crate::context::Context;
use crate::error::Error;

/// Does a step. Done again, it has no further effect.
///
/// # Errors
/// The API server or the store refuses a request, or gives no answer, or this process may not act.
pub async fn apply(context: &Context, seen: &Seen, step: &Step) -> Result<(), Error> {
    let hand = Hand { context, seen };
    match step {
        Step::Wait { .. } => Ok(()),
        Step::Begin { .. } | Step::End | Step::RecordCluster { .. } | Step::RecordId { .. } => {
            record(context, seen, step).await
        }
        Step::AddLearner { .. }
        | Step::Promote { .. }
        | Step::MoveLeader { .. }
        | Step::RemoveFromStore { .. } => store::change(&hand, step).await,
        Step::ApplyObjects => objects::apply_shared(&hand).await,
        Step::IssueCertificates => secrets::issue(&hand).await,
        Step::LimitDisruption { min_available } => {
            objects::limit_disruption(&hand, *min_available).await
        }
        Step::CreateMember { member, number, founds } => {
            objects::create_member(&hand, member, *number, *founds).await
        }
        Step::CreateVolume { member, bytes } => objects::create_volume(&hand, member, *bytes).await,
        Step::CreatePod { member, founds, is_voter, version } => {
            objects::create_pod(&hand, member, *founds, *is_voter, version).await
        }
        Step::LabelVoter { member } => {
            let labels = json!({ "metadata": { "labels": { LABEL_ROLE: ROLE_VOTER } } });
            hand.patch(hand.pod(member)?, labels).await
        }
        Step::DeletePod { member, uid, force } => {
            objects::delete_pod(&hand, member, uid, *force).await
        }
        Step::KeepVolume { member, reason } => {
            let annotations = json!({ ANNOTATION_KEPT: reason });
            let change = json!({ "metadata": { "annotations": annotations } });
            hand.patch(hand.volume(member)?, change).await
        }
        Step::GrowVolume { member, bytes } => objects::grow_volume(&hand, member, *bytes).await,
        Step::DeleteMember { member } => hand.delete(hand.member(member)?).await,
    }
}
