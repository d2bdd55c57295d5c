//! A client that knows all members and asks one after the other, as etcd's own does.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use super::endpoints::Endpoints;
use crate::history::{Clock, Operation, Request};
use crate::workload::client::Client;

/// How long a member is left alone that did not answer.
const REST: Duration = Duration::from_millis(200);

/// A client of all members. When one does not answer, what comes next is asked of another one at
/// once; what became of the request itself is not known, and it is not sent again.
#[derive(Debug)]
pub(super) struct Roamer {
    id: u64,
    clock: Clock,
    endpoints: Endpoints,
    links: BTreeMap<usize, Link>,
    last: usize,
}

/// A member as one client sees it.
#[derive(Debug)]
struct Link {
    client: Client,
    /// When it may be asked again.
    rested: Instant,
}

impl Roamer {
    /// Client number `id`.
    pub(super) fn new(id: u64, endpoints: &Endpoints, clock: &Clock) -> Self {
        let (endpoints, links) = (endpoints.clone(), BTreeMap::new());
        let last = usize::try_from(id).expect("there are few clients");
        Self { id, clock: clock.clone(), endpoints, links, last }
    }

    /// Carries out operation `id` at the next member that may be asked.
    pub(super) async fn ask_as(&mut self, id: u64, request: Request) -> Operation {
        let member = self.choose().await;
        let link = self.links.get_mut(&member).expect("it was chosen");
        let operation = link.client.ask_as(id, request).await;
        if operation.is_unknown() {
            link.rested = Instant::now() + REST;
        }
        operation
    }

    /// The next member that may be asked; waits when there is none.
    async fn choose(&mut self) -> usize {
        let members = self.endpoints.list();
        self.links.retain(|number, _| members.iter().any(|(known, _)| known == number));
        for (number, url) in &members {
            self.links.entry(*number).or_insert_with(|| Link {
                client: Client::new(self.id, *number, url, &self.clock),
                rested: Instant::now(),
            });
        }
        let now = Instant::now();
        let in_turn = self.links.range(self.last + 1..).chain(self.links.range(..=self.last));
        let rested = in_turn.clone().find(|(_, link)| link.rested <= now);
        let chosen = rested.or_else(|| in_turn.min_by_key(|(_, link)| link.rested));
        let (member, link) = chosen.expect("a cluster has members");
        self.last = *member;
        tokio::time::sleep_until(link.rested).await;
        self.last
    }
}
