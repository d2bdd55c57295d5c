//! Where the members of a cluster are reached, as its clients know it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use crate::workload::roamer::Address;

/// The members by number. Clones are the same list: who adds a member tells all clients.
#[derive(Clone, Debug, Default)]
pub(super) struct Endpoints(Arc<Mutex<BTreeMap<usize, String>>>);

impl Endpoints {
    /// Member `number` is reached at `url`.
    pub(super) fn insert(&self, number: usize, url: &str) {
        self.0.lock().expect("nobody panics with it").insert(number, url.to_owned());
    }

    /// Member `number` is gone for good.
    pub(super) fn remove(&self, number: usize) {
        self.0.lock().expect("nobody panics with it").remove(&number);
    }

    /// All of them.
    pub(super) fn list(&self) -> Vec<(usize, String)> {
        let members = self.0.lock().expect("nobody panics with it");
        members.iter().map(|(number, url)| (*number, url.clone())).collect()
    }

    /// The first one behind member `last`, or else the first one.
    ///
    /// # Panics
    /// When there is none.
    pub(super) fn next(&self, last: usize) -> Address {
        let members = self.0.lock().expect("nobody panics with it");
        let next = members.range(last + 1..).next().or_else(|| members.iter().next());
        let next = next.map(|(number, url)| Address { member: *number, url: url.clone() });
        next.expect("a cluster has members")
    }
}
