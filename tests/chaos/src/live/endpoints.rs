//! The client URLs of the members of a cluster.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use crate::workload::roamer::Address;

/// The URLs by member number. Clones share one list, so all clients see a change.
#[derive(Clone, Debug, Default)]
pub(super) struct Endpoints(Arc<Mutex<BTreeMap<usize, String>>>);

impl Endpoints {
    /// Adds member `number`, with its URL.
    pub(super) fn insert(&self, number: usize, url: &str) {
        self.0.lock().expect("nobody panics with it").insert(number, url.to_owned());
    }

    /// Removes member `number`.
    pub(super) fn remove(&self, number: usize) {
        self.0.lock().expect("nobody panics with it").remove(&number);
    }

    /// All members.
    pub(super) fn list(&self) -> Vec<(usize, String)> {
        let members = self.0.lock().expect("nobody panics with it");
        members.iter().map(|(number, url)| (*number, url.clone())).collect()
    }

    /// The member with the next higher number than `last`, or else the first one.
    ///
    /// # Panics
    /// When there are no members.
    pub(super) fn next(&self, last: usize) -> Address {
        let members = self.0.lock().expect("nobody panics with it");
        let next = members.range(last + 1..).next().or_else(|| members.iter().next());
        let next = next.map(|(number, url)| Address { member: *number, url: url.clone() });
        next.expect("a cluster has members")
    }
}
