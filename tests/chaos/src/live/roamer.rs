//! A client that knows all members and uses them in turn, as etcd's own client does.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::endpoints::Endpoints;
use crate::history::{Clock, Operation, Request, Response};
use crate::workload::client::Client;

/// The time between two attempts to reach a member that does not answer.
const TRY_EVERY: Duration = Duration::from_millis(100);

/// A client of all members. When a member does not answer, the next request goes to another one at
/// once. The unanswered request has an unknown outcome and is not sent again. A member gets
/// requests only after it has answered a status request.
#[derive(Debug)]
pub(super) struct Roamer {
    id: u64,
    clock: Clock,
    endpoints: Endpoints,
    links: BTreeMap<usize, Link>,
    last: usize,
    tries: JoinSet<()>,
    /// Signalled when a member answers again.
    answered: Arc<Notify>,
}

/// The connection of one client to a member.
#[derive(Debug)]
struct Link {
    client: Client,
    answers: Arc<AtomicBool>,
}

impl Roamer {
    /// Client number `id`.
    pub(super) fn new(id: u64, endpoints: &Endpoints, clock: &Clock) -> Self {
        Self {
            id,
            clock: clock.clone(),
            endpoints: endpoints.clone(),
            links: BTreeMap::new(),
            last: usize::try_from(id).expect("there are few clients"),
            tries: JoinSet::new(),
            answered: Arc::new(Notify::new()),
        }
    }

    /// Sends a request as operation `id` to the next member that answers.
    pub(super) async fn ask_as(&mut self, id: u64, request: Request) -> Operation {
        self.last = self.choose().await;
        let link = self.links.get_mut(&self.last).expect("it was chosen");
        let operation = link.client.ask_as(id, request).await;
        if operation.is_unanswered() {
            link.answers.store(false, Ordering::SeqCst);
            self.reach(self.last);
        }
        operation
    }

    /// Waits for a member that answers, and returns the next one in turn.
    async fn choose(&mut self) -> usize {
        loop {
            self.learn_members();
            let answered = self.answered.clone();
            let answered = answered.notified();
            let mut in_turn =
                self.links.range(self.last + 1..).chain(self.links.range(..=self.last));
            if let Some((member, _)) = in_turn.find(|(_, l)| l.answers.load(Ordering::SeqCst)) {
                return *member;
            }
            answered.await;
        }
    }

    fn learn_members(&mut self) {
        let members = self.endpoints.list();
        self.links.retain(|number, _| members.iter().any(|(known, _)| known == number));
        for (number, url) in members {
            if !self.links.contains_key(&number) {
                let client = Client::new(self.id, number, &url, &self.clock);
                self.links.insert(number, Link { client, answers: Arc::default() });
                self.reach(number);
            }
        }
    }

    /// Tries to reach a member in the background until it answers.
    fn reach(&mut self, member: usize) {
        // Removes the finished attempts.
        while self.tries.try_join_next().is_some() {}
        let link = &self.links[&member];
        let (mut client, answers) = (link.client.clone(), link.answers.clone());
        let answered = self.answered.clone();
        self.tries.spawn(async move {
            while !serves(&client.ask(Request::Status).await) {
                tokio::time::sleep(TRY_EVERY).await;
            }
            answers.store(true, Ordering::SeqCst);
            answered.notify_one();
        });
    }
}

/// Whether a member answers all requests: a learner does not.
fn serves(status: &Operation) -> bool {
    matches!(status.response(), Some(Response::Status(status)) if !status.is_learner)
}
