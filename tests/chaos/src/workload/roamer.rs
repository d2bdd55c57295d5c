//! A client that continues at another member when one does not answer.

use std::sync::{Arc, RwLock};
use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;

use super::client::Client;
use crate::history::{Clock, Operation, Request};

/// The pause before a request to another member: etcd's clients back off too.
const PAUSE: Duration = Duration::from_millis(20);

/// The address of a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// The member number.
    pub member: usize,
    /// The client URL.
    pub url: String,
}

/// The addresses that clients know. Clones share one directory.
#[derive(Clone, Debug, Default)]
pub struct Directory(Arc<RwLock<Vec<Address>>>);

impl Directory {
    /// Replaces all addresses.
    pub fn set(&self, members: Vec<Address>) {
        *self.0.write().expect("nobody panics with it") = members;
    }

    /// All addresses.
    pub fn list(&self) -> Vec<Address> {
        self.0.read().expect("nobody panics with it").clone()
    }

    fn at(&self, place: usize) -> Address {
        self.0.read().expect("nobody panics with it")[place].clone()
    }

    fn len(&self) -> usize {
        self.0.read().expect("nobody panics with it").len()
    }
}

/// A client of all members, with one connection at a time.
#[derive(Debug)]
pub struct Roamer {
    id: u64,
    clock: Clock,
    rng: StdRng,
    patience: Duration,
    members: Directory,
    place: usize,
    client: Option<Client>,
}

impl Roamer {
    /// Client number `id` of `members`. It starts at the member in `place` and waits at most
    /// `patience` for a response.
    pub fn new(
        id: u64,
        clock: &Clock,
        rng: StdRng,
        patience: Duration,
        members: &Directory,
        place: usize,
    ) -> Self {
        let (clock, members) = (clock.clone(), members.clone());
        Self { id, clock, rng, patience, members, place, client: None }
    }

    /// Limits the wait for a response to `patience`.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Sends the request that `next` makes for a new id.
    pub async fn ask(&mut self, next: impl FnOnce(u64) -> Request) -> Operation {
        let id = self.clock.operation_id();
        let operation = self.client().ask_as(id, next(id)).await;
        if operation.is_unanswered() {
            self.client = None;
            self.place = self.rng.random_range(0..self.members.len());
            tokio::time::sleep(PAUSE).await;
        }
        operation
    }

    fn client(&mut self) -> &mut Client {
        let Address { member, url } = self.members.at(self.place);
        self.client.get_or_insert_with(|| {
            Client::new(self.id, member, &url, &self.clock).with_patience(self.patience)
        })
    }
}
