//! Checks that all members have the same data.
//!
//! The checks compare etcd's hash of all keys at a revision that both members still have. The
//! leader raises a CORRUPT alarm for a member whose hash differs. From then on the cluster refuses
//! writes, so that wrong data cannot spread before an operator has looked.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use quorate_core::Command;
use quorate_core::mvcc::hash::KeyValueHash;
use quorate_core::store::Shared;
use quorate_proto::etcdserverpb::alarm_request::AlarmAction;
use quorate_proto::etcdserverpb::{AlarmRequest, AlarmType};
use quorate_proto::peer as pb;

use super::hashes::hash_here;
use crate::ground::checks::IntegrityChecks;
use crate::ground::consensus::{Consensus, Holding};
use crate::network::peer_pool::PeerPool;
use crate::read::ReadBarrier;

/// Timeout for another member to compute a hash.
const HASH_WITHIN: Duration = Duration::from_secs(60);

/// This member's data differ from other members' data.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the data differ from those of {members} at revision {revision}; remove this member, delete \
     its data directory and add it again"
)]
pub struct Inconsistent {
    /// The ids of the other members, in hexadecimal and separated by commas.
    pub members: String,
    /// The compared revision.
    pub revision: i64,
}

/// Another member's hash; `None` if it gave none.
struct PeerHash {
    member: u64,
    hash: Option<pb::HashReply>,
}

/// The results so far of a comparison at one revision.
#[derive(Default)]
struct Comparison {
    revision: i64,
    mine: Option<KeyValueHash>,
    /// The members compared so far, and whether their hash differs.
    compared: BTreeMap<u64, bool>,
    is_over: bool,
}

impl Comparison {
    fn at(revision: i64) -> Self {
        Self { revision, ..Self::default() }
    }

    /// Adds the hashes of other members that have the same compaction. Returns whether this adds a
    /// member to the comparison.
    fn note(&mut self, mine: &KeyValueHash, found: Vec<PeerHash>) -> bool {
        let before = self.compared.len();
        for PeerHash { member, hash } in found {
            let same = |hash: &pb::HashReply| hash.compacted == mine.compact_revision;
            if let Some(hash) = hash.filter(same) {
                self.compared.insert(member, hash.hash != mine.hash);
            }
        }
        self.compared.len() > before
    }

    /// The members with wrong data. `me` is this member, and `others` is the number of other
    /// members.
    fn wrong(&self, me: u64, others: usize) -> Vec<u64> {
        let differing = self.compared.iter().filter(|(_, differs)| **differs);
        let differing: Vec<u64> = differing.map(|(member, _)| *member).collect();
        // If most members differ from this one, this one is wrong.
        if differing.len() > others.div_ceil(2) { vec![me] } else { differing }
    }
}

/// Compares this member's data with other members' data.
pub(crate) struct Integrity {
    pub(crate) store: Arc<Shared>,
    pub(crate) barrier: Arc<ReadBarrier>,
    pub(crate) pool: Arc<PeerPool>,
    pub(crate) consensus: Arc<dyn Consensus>,
}

impl Integrity {
    /// Compares this member's newest data with those of all reachable members.
    ///
    /// # Errors
    /// The data differ from another member's.
    pub(crate) async fn check_start(&self) -> Result<(), Inconsistent> {
        let Some(mine) = hash_here(&self.store, 0).await else { return Ok(()) };
        let differing = |found: &PeerHash| {
            found.hash.as_ref().is_some_and(|hash| {
                hash.compacted == mine.compact_revision && hash.hash != mine.hash
            })
        };
        // An answer over unproven channels must not stop this member: it may be forged.
        let is_proven = |id: &u64| self.pool.peer(*id).is_some_and(|peer| peer.is_proven());
        let others = self.others().into_iter().filter(is_proven).collect();
        let found = self.hash_elsewhere(mine.revision, others).await;
        let members: Vec<String> = found
            .iter()
            .filter(|found| differing(found))
            .map(|found| format!("{:x}", found.member))
            .collect();
        if members.is_empty() {
            Ok(())
        } else {
            Err(Inconsistent { members: members.join(", "), revision: mine.revision })
        }
    }

    /// Runs the leader's checks forever.
    pub(crate) async fn run(&self, checks: IntegrityChecks) {
        let newest = async {
            let Some(every) = checks.every else { return std::future::pending().await };
            loop {
                tokio::time::sleep(every).await;
                self.check_newest().await;
            }
        };
        let compacted = async {
            let Some(every) = checks.after_compaction else {
                return std::future::pending().await;
            };
            let mut comparison = Comparison { is_over: true, ..Comparison::default() };
            loop {
                tokio::time::sleep(every).await;
                let revision = self.store.compacted();
                if revision > comparison.revision {
                    comparison = Comparison::at(revision);
                }
                if !comparison.is_over {
                    self.check_compacted(&mut comparison).await;
                }
            }
        };
        tokio::join!(newest, compacted);
    }

    async fn check_newest(&self) {
        if !self.leads() {
            return;
        }
        let Some(before) = hash_here(&self.store, 0).await else { return };
        let found = self.hash_elsewhere(before.revision, self.others()).await;
        if self.barrier.pass().await.is_err() {
            return;
        }
        let Some(now) = hash_here(&self.store, before.revision).await else { return };
        if before.compact_revision == now.compact_revision && before.hash != now.hash {
            return self.raise(self.me()).await;
        }
        let newest = self.store.view();
        for PeerHash { member, hash } in found {
            let Some(hash) = hash else { continue };
            let is_ahead = hash.compacted > newest.compacted() || hash.newest > newest.revision();
            if is_ahead || (hash.compacted == before.compact_revision && hash.hash != before.hash) {
                return self.raise(member).await;
            }
        }
    }

    /// Compares with the members that are not compared yet. Unreachable members are asked again in
    /// the next round; this member's data are hashed only once.
    async fn check_compacted(&self, comparison: &mut Comparison) {
        if !self.leads() {
            return;
        }
        if comparison.mine.is_none() {
            comparison.mine = hash_here(&self.store, comparison.revision).await;
        }
        let Some(mine) = comparison.mine else {
            // The data at this revision can no longer be hashed.
            comparison.is_over = true;
            return;
        };
        let others = self.others();
        let missing = others.iter().filter(|id| !comparison.compared.contains_key(id));
        let found = self.hash_elsewhere(comparison.revision, missing.copied().collect()).await;
        if comparison.note(&mine, found) {
            for member in comparison.wrong(self.me(), others.len()) {
                self.raise(member).await;
            }
        }
        comparison.is_over = others.iter().all(|id| comparison.compared.contains_key(id));
    }

    fn me(&self) -> u64 {
        self.pool.identity().member_id
    }

    fn leads(&self) -> bool {
        self.consensus.status_now().leader == Some(self.me())
    }

    fn others(&self) -> Vec<u64> {
        let me = self.me();
        self.pool.members().borrow().keys().copied().filter(|id| *id != me).collect()
    }

    async fn hash_elsewhere(&self, revision: i64, others: Vec<u64>) -> Vec<PeerHash> {
        let mut found = Vec::with_capacity(others.len());
        for member in others {
            let hash = self.ask(member, revision).await;
            if hash.is_none() {
                let member = format!("{member:x}");
                tracing::warn!(member, revision, "a member sent no hash to compare");
            }
            found.push(PeerHash { member, hash });
        }
        found
    }

    async fn ask(&self, member: u64, revision: i64) -> Option<pb::HashReply> {
        let mut client = self.pool.peer(member)?.control;
        let asked = client.hash_kv(pb::HashRequest { revision });
        let reply = tokio::time::timeout(HASH_WITHIN, asked).await.ok()?.ok()?.into_inner();
        reply.refusal.is_empty().then_some(reply)
    }

    async fn raise(&self, member: u64) {
        let raised = (AlarmType::Corrupt as i32, member);
        if self.store.tables(|tables| tables.alarms.contains(&raised)) {
            return;
        }
        tracing::error!(
            member = format!("{member:x}"),
            "a member's data differ from those of the other members"
        );
        let alarm = AlarmRequest {
            action: AlarmAction::Activate as i32,
            member_id: member,
            alarm: AlarmType::Corrupt as i32,
        };
        let alarm = Command::Alarm(alarm).encode_from(&self.store.cluster_origin());
        match self.consensus.propose(alarm, Holding::default()).await {
            Ok(Some(Err(refusal))) => tracing::error!(%refusal, "cannot raise the alarm"),
            Ok(_) => {}
            Err(error) => tracing::error!(%error, "cannot raise the alarm"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compared_members_are_remembered() {
        let mine = KeyValueHash { hash: 1, compact_revision: 5, revision: 5 };
        let found = |member, hash, compacted| PeerHash {
            member,
            hash: Some(pb::HashReply { hash, compacted, ..Default::default() }),
        };
        let mut comparison = Comparison::at(5);
        let silent = PeerHash { member: 4, hash: None };
        assert!(comparison.note(&mine, vec![found(2, 1, 5), found(3, 2, 5), silent]));
        assert_eq!(comparison.wrong(1, 3), [3]);
        assert!(!comparison.note(&mine, vec![found(4, 2, 4)]), "it has another compaction");
        assert!(comparison.note(&mine, vec![found(4, 2, 5)]));
        assert_eq!(comparison.wrong(1, 3), [3, 4]);
        assert!(comparison.note(&mine, vec![found(5, 2, 5)]));
        assert_eq!(comparison.wrong(1, 4), [1], "most say something else");
    }
}
