//! The changes of the store's members that a request may make.

use quorate_controller::members::Request;

use super::super::store::Peer;
use super::super::{CLUSTER, Store, World, key, quorum};

/// The rule of steps that stop a voter.
const QUORUM: &str = "the operator never costs the quorum";

impl World {
    /// A member stops, because an operator wants it.
    pub(super) fn check_stop(&mut self, name: &str, request: &str) {
        let found = self.store.members.iter().find(|(_, peer)| peer.name == name);
        let Some((id, peer)) = found else { return };
        let voters = self.store.voters();
        let is_asleep = self.cluster()["spec"]["hibernated"] == true;
        if !peer.votes || peer.active == 0 || voters.len() == 1 || is_asleep {
            return;
        }
        let leads = self.store.leader == *id;
        let left = self.store.active_voters() - 1;
        let has_quorum = self.store.has_quorum();
        if left < quorum(voters.len()) && has_quorum {
            let facts = format!("{left} of {} would run after {request}", voters.len());
            self.checks.report(QUORUM, facts);
        }
        if leads {
            self.checks.report("the leader moves before it stops", request);
        }
        if has_quorum {
            self.check_evictions(request);
        }
    }

    /// While a voter is taken away, no eviction may take another one.
    fn check_evictions(&mut self, request: &str) {
        let budget = self.objects.get(&key("poddisruptionbudgets", CLUSTER));
        let needed = budget.and_then(|it| it["spec"]["minAvailable"].as_u64()).unwrap_or(0);
        let is_covered = |pod: &serde_json::Value| {
            let is_ready = |it: &serde_json::Value| it["type"] == "Ready" && it["status"] == "True";
            let mut conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
            pod["metadata"]["labels"]["quorate.dev/role"] == "voter" && conditions.any(is_ready)
        };
        let ready = self.objects.all("pods").filter(|(_, pod)| is_covered(pod)).count();
        if ready as u64 > needed && !self.checks.is_late {
            let facts = format!("{ready} are ready, and {needed} needed, at {request}");
            self.checks.report("no eviction may take another voter", facts);
        }
    }

    /// The store accepted a change of an operator.
    pub(crate) fn check_change(&mut self, before: &Store, request: &Request) {
        let learner = before.members.iter().find(|(_, peer)| peer.is_learner || !peer.votes);
        let learner = learner.map(|(id, _)| *id);
        match request {
            Request::AddLearner { peer_url, .. } => {
                if learner.is_some() {
                    self.checks.report("one change at a time", peer_url);
                }
                if !self.checks.used.urls.insert(peer_url.clone()) {
                    self.checks.report("a peer URL is used once", peer_url);
                }
            }
            Request::Promote { id, .. } | Request::Remove { id, .. } => {
                let is_other = learner.is_some_and(|learner| learner != *id);
                if is_other && !self.is_replaced(before, *id) {
                    self.checks.report("one change at a time", format!("{request:?}"));
                }
                if matches!(request, Request::Promote { .. }) {
                    self.check_promotion(before, *id);
                } else {
                    self.check_removal(before, *id);
                }
            }
            Request::MoveLeader { .. } => {}
        }
    }

    /// Whether the change under way replaces the member: the old member goes while the new one is a
    /// learner.
    fn is_replaced(&self, before: &Store, id: u64) -> bool {
        let change = &self.cluster()["status"]["change"];
        let name = before.members.get(&id).map_or("", |peer| peer.name.as_str());
        change["kind"] == "Replace" && change["replaces"] == name
    }

    fn check_promotion(&mut self, before: &Store, id: u64) {
        let is_active = before.members.get(&id).is_some_and(|peer| peer.active > 0);
        let active = before.active_voters() + usize::from(is_active);
        if active < quorum(before.voters().len() + 1) {
            self.checks.report(QUORUM, format!("{active} would run with {id:x}"));
        }
    }

    fn check_removal(&mut self, before: &Store, id: u64) {
        let voters = before.voters();
        if !voters.contains(&id) || voters.len() == 1 {
            return;
        }
        if before.leader == id {
            self.checks.report("the leader moves before it is removed", id);
        }
        if !self.store.has_quorum() && before.has_quorum() {
            self.checks.report(QUORUM, format!("without {id:x}"));
        }
        if before.members.get(&id).is_some_and(|peer: &Peer| peer.active > 0) {
            self.check_evictions(&format!("the removal of {id:x}"));
        }
    }
}
