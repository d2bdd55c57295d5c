//! Making a member the only one of its cluster.

use quorate_core::LogPosition;
use quorate_storage::wal::Wal;

use super::error::StartError;
use super::open::durable;
use crate::ground::member::Peer;
use crate::log::encoding::{decode_vote, encode_vote, membership_in, only_member};
use crate::log::types::{Membership, StoredMembership, Vote};

/// Maximum bytes of the log read at once in a search.
const READ_BYTES_MAX: usize = 4 << 20;
/// Makes `id` the only member, by an entry after all others. `peer_urls` are used if the last
/// membership does not contain `id`.
///
/// The log keeps all its entries: the lost members may have acknowledged them, even if this one
/// never learned that they are committed.
pub(super) async fn force_new_cluster(
    wal: &Wal,
    stored: &StoredMembership,
    applied: Option<LogPosition>,
    id: u64,
    peer_urls: &[String],
) -> Result<(), StartError> {
    let mut last = wal.state().last;
    if let Some(applied) = applied.filter(|applied| Some(*applied) > last) {
        // The log has lost entries that the database contains.
        durable(|done| wal.purge(applied, done)).await?;
        last = Some(applied);
    }
    let vote = wal.state().vote.map(|vote| decode_vote(&vote)).transpose();
    let vote = vote.map_err(StartError::Damaged)?;
    // The term is new, so that no entry of the others can have the same position.
    let voted = vote.map_or(0, |vote| vote.leader_id.term);
    let term = voted.max(last.map_or(0, |last| last.term)) + 1;
    let at = LogPosition { term, index: last.map_or(0, |last| last.index + 1) };
    let known = last_membership(wal, stored)?.get_node(&id).cloned();
    let mut peer = known.unwrap_or_else(|| Peer { peer_urls: peer_urls.into(), is_learner: false });
    peer.is_learner = false;
    tracing::warn!(
        index = at.index,
        peer_urls = peer.peer_urls.join(","),
        "this member is now the only member of its cluster"
    );
    let vote = encode_vote(&Vote::new(term, id));
    durable(|done| wal.save_vote(vote, done)).await?;
    let entry = only_member(at, id, &peer);
    durable(|done| wal.append(std::iter::once(entry), done)).await
}

/// The last membership in the log; `stored` if the log contains none.
fn last_membership(wal: &Wal, stored: &StoredMembership) -> Result<Membership, StartError> {
    let mut membership = stored.membership().clone();
    let mut next = wal.state().purged.map_or(0, |purged| purged.index + 1);
    loop {
        let entries = wal.read(next, u64::MAX, READ_BYTES_MAX);
        let entries = entries.map_err(|error| StartError::Damaged(error.to_string()))?;
        if entries.is_empty() {
            return Ok(membership);
        }
        next += entries.len() as u64;
        for entry in entries {
            let later = membership_in(entry).map_err(StartError::Damaged)?;
            membership = later.unwrap_or(membership);
        }
    }
}
