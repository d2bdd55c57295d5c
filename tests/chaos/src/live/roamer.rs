//! A client that knows all members and asks one after the other, as etcd's own does.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::endpoints::Endpoints;
use crate::history::{Clock, Operation, Request, Response};
use crate::workload::client::Client;

/// Time between two tries to reach a member that does not answer.
const TRY_EVERY: Duration = Duration::from_millis(100);

/// A client of all members. When one does not answer, what comes next is asked of another one at
/// once; what became of the request itself is not known, and it is not sent again. A member is
/// asked only when it has shown that it answers.
#[derive(Debug)]
pub(super) struct Roamer {
    id: u64,
    clock: Clock,
    endpoints: Endpoints,
    links: BTreeMap<usize, Link>,
    last: usize,
    tries: JoinSet<()>,
    /// Signalled when a member answers that did not.
    answered: Arc<Notify>,
}

/// A member as one client sees it.
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

    /// Carries out operation `id` at the next member that answers.
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

    /// The next member that answers; waits for one.
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

    /// Tries to reach a member until it answers.
    fn reach(&mut self, member: usize) {
        // Those that have ended are of no interest.
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

/// Whether a member answers, and everything: a learner does not.
fn serves(status: &Operation) -> bool {
    matches!(status.response(), Some(Response::Status(status)) if !status.is_learner)
}
