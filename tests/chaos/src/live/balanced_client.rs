//! A client that knows all members and uses them in turn, as etcd's own client does.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::history::{Clock, Operation, Request, Response};
use crate::workload::client::Client;
use crate::workload::endpoints::{Address, Endpoints};
use crate::workload::load::Requester;

/// The time between two status requests to a member that does not answer.
const STATUS_EVERY: Duration = Duration::from_millis(100);

/// A client of all members. When a member does not answer, the next request goes to another one at
/// once. The unanswered request has an unknown outcome and is not sent again. A member gets
/// requests only after it has answered a status request.
#[derive(Debug)]
pub(super) struct BalancedClient {
    id: u64,
    clock: Clock,
    endpoints: Endpoints,
    connections: BTreeMap<usize, Connection>,
    /// The member that got the last request.
    last: usize,
    /// The status requests under way.
    probes: JoinSet<()>,
    /// Signalled when a member answers again.
    answered: Arc<Notify>,
}

/// The connection to a member.
#[derive(Debug)]
struct Connection {
    client: Client,
    answers: Arc<AtomicBool>,
}

impl BalancedClient {
    /// Client number `id`.
    pub(super) fn new(id: u64, endpoints: &Endpoints, clock: &Clock) -> Self {
        Self {
            id,
            clock: clock.clone(),
            endpoints: endpoints.clone(),
            connections: BTreeMap::new(),
            last: usize::try_from(id).expect("there are few clients"),
            probes: JoinSet::new(),
            answered: Arc::new(Notify::new()),
        }
    }

    /// Waits for a member that answers, and returns the next one in turn.
    async fn choose(&mut self) -> usize {
        loop {
            self.learn_members();
            let answered = self.answered.clone();
            let answered = answered.notified();
            let later = self.connections.range(self.last + 1..);
            let mut in_turn = later.chain(self.connections.range(..=self.last));
            if let Some((member, _)) = in_turn.find(|(_, c)| c.answers.load(Ordering::SeqCst)) {
                return *member;
            }
            answered.await;
        }
    }

    fn learn_members(&mut self) {
        let members = self.endpoints.list();
        self.connections.retain(|number, _| members.iter().any(|known| known.member == *number));
        for Address { member, url } in members {
            if !self.connections.contains_key(&member) {
                let client = Client::new(self.id, member, &url, &self.clock);
                self.connections.insert(member, Connection { client, answers: Arc::default() });
                self.probe(member);
            }
        }
    }

    /// Sends status requests to a member in the background until it answers one.
    fn probe(&mut self, member: usize) {
        // Removes the finished tasks.
        while self.probes.try_join_next().is_some() {}
        let Connection { client, answers } = &self.connections[&member];
        let mut client = client.clone();
        let answers = answers.clone();
        let answered = self.answered.clone();
        self.probes.spawn(async move {
            while !serves(&client.ask(Request::Status).await) {
                tokio::time::sleep(STATUS_EVERY).await;
            }
            answers.store(true, Ordering::SeqCst);
            answered.notify_one();
        });
    }
}

impl Requester for BalancedClient {
    async fn ask(&mut self, make: impl FnOnce(u64) -> Request + Send) -> Operation {
        let id = self.clock.operation_id();
        let request = make(id);
        self.last = self.choose().await;
        let connection = self.connections.get_mut(&self.last).expect("it was chosen");
        let operation = connection.client.ask_as(id, request).await;
        if operation.is_unanswered() {
            connection.answers.store(false, Ordering::SeqCst);
            self.probe(self.last);
        }
        operation
    }
}

/// Whether a member answers all requests: a learner does not.
fn serves(status: &Operation) -> bool {
    matches!(status.response(), Some(Response::Status(status)) if !status.is_learner)
}
