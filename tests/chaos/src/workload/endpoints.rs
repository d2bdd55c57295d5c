//! The client URLs of the members of a cluster.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use rand::rngs::StdRng;
use rand::seq::IteratorRandom;

/// The address of a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// The member number.
    pub member: usize,
    /// The client URL.
    pub url: String,
}

/// The URLs by member number. Clones share one list, so all clients see a change.
#[derive(Clone, Debug, Default)]
pub struct Endpoints(Arc<Mutex<BTreeMap<usize, String>>>);

impl Endpoints {
    /// Adds member `number` with its URL.
    pub fn insert(&self, number: usize, url: &str) {
        self.lock().insert(number, url.to_owned());
    }

    /// Removes member `number`.
    pub fn remove(&self, number: usize) {
        self.lock().remove(&number);
    }

    /// All members.
    pub fn list(&self) -> Vec<Address> {
        self.lock().iter().map(address).collect()
    }

    /// Member `number`, if it is listed.
    pub fn find(&self, number: usize) -> Option<Address> {
        self.lock().get_key_value(&number).map(address)
    }

    /// A random member.
    ///
    /// # Panics
    /// When there are no members.
    pub fn choose(&self, rng: &mut StdRng) -> Address {
        self.lock().iter().map(address).choose(rng).expect("a cluster has members")
    }

    /// A random member other than `last`, unless that is the only one.
    ///
    /// # Panics
    /// When there are no members.
    pub fn choose_other(&self, last: usize, rng: &mut StdRng) -> Address {
        let others = self.list().into_iter().filter(|address| address.member != last);
        others.choose(rng).unwrap_or_else(|| self.choose(rng))
    }

    /// The member with the next higher number than `last`, or else the first one.
    ///
    /// # Panics
    /// When there are no members.
    pub fn next(&self, last: usize) -> Address {
        let members = self.lock();
        let next = members.range(last + 1..).next().or_else(|| members.iter().next());
        next.map(address).expect("a cluster has members")
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<usize, String>> {
        self.0.lock().expect("no holder of the lock panics")
    }
}

fn address((number, url): (&usize, &String)) -> Address {
    Address { member: *number, url: url.clone() }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn members_come_in_turn_and_at_random() {
        let endpoints = Endpoints::default();
        endpoints.insert(2, "http://two");
        let mut rng = StdRng::seed_from_u64(1);
        assert_eq!(endpoints.choose_other(2, &mut rng).member, 2);
        endpoints.insert(5, "http://five");
        assert_eq!(endpoints.next(2).member, 5);
        assert_eq!(endpoints.next(5).member, 2);
        assert_eq!(endpoints.choose_other(2, &mut rng).url, "http://five");
        endpoints.remove(5);
        assert_eq!(endpoints.find(5), None);
    }
}
