//! A client that continues at another member when one does not answer.

use std::time::Duration;

use rand::rngs::StdRng;

use super::client::Client;
use super::endpoints::{Address, Endpoints};
use super::load::Requester;
use crate::history::{Clock, Operation, Request};

/// The pause before a request to another member: etcd's clients back off too.
const PAUSE: Duration = Duration::from_millis(20);

/// A client of all members, with one connection at a time.
#[derive(Debug)]
pub struct FailoverClient {
    id: u64,
    clock: Clock,
    rng: StdRng,
    patience: Duration,
    endpoints: Endpoints,
    /// The member that gets the next request.
    member: usize,
    client: Option<Client>,
}

impl FailoverClient {
    /// Client number `id` of `endpoints`. It starts at `member` and waits at most `patience` for a
    /// response.
    pub fn new(
        id: u64,
        clock: &Clock,
        rng: StdRng,
        patience: Duration,
        endpoints: &Endpoints,
        member: usize,
    ) -> Self {
        let clock = clock.clone();
        let endpoints = endpoints.clone();
        Self { id, clock, rng, patience, endpoints, member, client: None }
    }

    /// Limits the wait for a response to `patience`.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    fn client(&mut self) -> &mut Client {
        self.client.get_or_insert_with(|| {
            let member = self.endpoints.find(self.member);
            let Address { member, url } =
                member.unwrap_or_else(|| self.endpoints.choose(&mut self.rng));
            Client::new(self.id, member, &url, &self.clock).with_patience(self.patience)
        })
    }
}

impl Requester for FailoverClient {
    async fn ask(&mut self, make: impl FnOnce(u64) -> Request + Send) -> Operation {
        let id = self.clock.operation_id();
        let operation = self.client().ask_as(id, make(id)).await;
        if operation.is_unanswered() {
            self.client = None;
            self.member = self.endpoints.choose(&mut self.rng).member;
            tokio::time::sleep(PAUSE).await;
        }
        operation
    }
}
