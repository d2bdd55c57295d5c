//! The rules that hold whatever step the operator takes, and wherever it stops.

mod members;
mod objects;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

use serde_json::Value;

use super::World;

/// The rules and their memory.
#[derive(Clone, Debug, Default)]
pub(crate) struct Checks {
    /// The rules that were broken, for a person.
    pub(crate) broken: Vec<String>,
    /// Whether an operator may see an outdated state, because another operator overtook it or lists
    /// lag behind. Then it may make an object again that is gone. Such an object is cleared away
    /// later. The disruption budget may then be an old one.
    pub(crate) is_late: bool,
    pub(super) used: Used,
    /// The certificate of each authority, by the uid of its cluster and its own name.
    authorities: BTreeMap<(String, &'static str), Value>,
    /// The pods, claims and records that were there last, without those that were being deleted.
    present: [BTreeSet<String>; 3],
    /// The status that was there last.
    status: Value,
}

/// The tokens, names and URLs that must not be used again.
#[derive(Clone, Debug, Default, Hash)]
pub(super) struct Used {
    /// The tokens of the clusters that were founded.
    tokens: BTreeSet<String>,
    /// The uids of the members' records by name: a name has one record, ever.
    pub(super) records: BTreeMap<String, String>,
    /// The peer URLs that were added to the store.
    urls: BTreeSet<String>,
}

impl Checks {
    fn report(&mut self, rule: &str, facts: impl Display) {
        self.broken.push(format!("{rule}: {facts}"));
    }

    /// A member founds a cluster.
    pub(super) fn found(&mut self, token: &str) {
        if !self.used.tokens.insert(token.to_owned()) {
            self.report("a cluster is founded once", token);
        }
    }
}

impl World {
    /// Compares the world with how it was before a request of an operator, or before anything else
    /// happened.
    pub(super) fn observe(&mut self, request: Option<&str>) {
        let status = self.cluster()["status"].clone();
        let before = std::mem::replace(&mut self.checks.status, status);
        let present = ["pods", "persistentvolumeclaims", "quoratemembers"].map(|it| self.names(it));
        let gone: Vec<Vec<String>> = self.checks.present.iter().zip(&present).map(gone).collect();
        self.checks.present = present;
        // Users, and nodes that are gone, follow no rules.
        if let Some(request) = request.filter(|_| !self.cluster().is_null()) {
            self.check_status(&before, request);
            self.check_authorities(request);
            self.check_claims(&gone[1], request);
            self.check_records(&gone[2], request);
            gone[0].iter().for_each(|name| self.check_stop(name, request));
        }
    }

    fn names(&self, plural: &str) -> BTreeSet<String> {
        let objects = self.objects.all(plural);
        let objects = objects.filter(|(_, it)| it["metadata"]["deletionTimestamp"].is_null());
        objects.map(|(key, _)| key.name.clone()).collect()
    }

    /// Checks a world in which nothing is left to do.
    pub(crate) fn check_rest(&mut self) {
        let change: Value = self.cluster()["status"]["change"].clone();
        if !change.is_null() {
            self.checks.report("at rest, no change is under way", change);
        }
        let learners = self.store.members.values().filter(|peer| !peer.votes).count();
        if learners > 0 {
            self.checks.report("at rest, all members vote", learners);
        }
    }
}

fn gone((old, new): (&BTreeSet<String>, &BTreeSet<String>)) -> Vec<String> {
    old.difference(new).cloned().collect()
}
