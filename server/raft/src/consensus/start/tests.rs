//! The protocol beside a state machine that stands still.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use openraft::async_runtime::WatchReceiver;
use openraft::entry::EntryPayload;
use openraft::raft::{AppendEntriesRequest, VoteRequest};
use openraft::storage::{EntryResponder, RaftStateMachine};
use openraft::{Raft, RaftNetworkFactory};
use quorate_core::LogPosition;
use quorate_storage::OnFault;
use quorate_storage::wal::{self, Wal};
use tokio::sync::Semaphore;

use super::{Settings, raft_config};
use crate::consensus::checkpoint::CheckpointReader;
use crate::ground::member::Peer;
use crate::log::snapshot::{Snapshot, SnapshotHandle, SnapshotMeta};
use crate::log::store::LogStore;
use crate::log::types::{
    Entry, LogId, Membership, StoredMembership, TypeConfig, Vote, log_id, position,
};
use crate::network::client::Network;

const ME: u64 = 1;
const LEADER: u64 = 2;
const TERM: u64 = 1;
/// More apply orders than openraft queues by default.
const ORDERS: u64 = 2_200;
/// How long a required answer may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A state machine that applies nothing until its gate has a permit.
struct Gated {
    gate: Arc<Semaphore>,
    applied: Option<LogId>,
    membership: StoredMembership,
}

impl RaftStateMachine<TypeConfig> for Gated {
    type SnapshotData = SnapshotHandle;
    type SnapshotBuilder = CheckpointReader;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        Ok((self.applied, self.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<TypeConfig>>> + Unpin + Send,
    {
        let _open = self.gate.acquire().await.unwrap();
        while let Some(item) = entries.next().await {
            let (entry, _) = item?;
            self.applied = Some(entry.log_id);
            if let EntryPayload::Membership(membership) = entry.payload {
                self.membership = StoredMembership::new(self.applied, membership);
            }
        }
        Ok(())
    }

    async fn try_create_snapshot_builder(&mut self, _force: bool) -> Option<CheckpointReader> {
        None
    }

    async fn get_snapshot_builder(&mut self) -> CheckpointReader {
        unreachable!("openraft calls the method above")
    }

    async fn install_snapshot(&mut self, _: &SnapshotMeta, _: SnapshotHandle) -> io::Result<()> {
        unreachable!("the leader has the whole log")
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<Snapshot>> {
        Ok(None)
    }
}

/// The network of a member that calls no other.
struct Silent;

impl RaftNetworkFactory<TypeConfig> for Silent {
    type Network = Network;

    async fn new_client(&mut self, _: u64, _: &Peer) -> Network {
        unreachable!("a follower calls no other member")
    }
}

/// The member `ME` as a follower that has an empty log.
async fn follower(wal: Arc<Wal>, gate: Arc<Semaphore>) -> Raft<TypeConfig, Gated> {
    let settings = Settings {
        heartbeat: Duration::from_millis(100),
        election_timeout: Duration::from_secs(1),
        log_keep_entries: 1000,
    };
    let config = Arc::new(raft_config(settings).unwrap());
    let machine = Gated { gate, applied: None, membership: StoredMembership::default() };
    Raft::new(ME, config, Silent, LogStore::new(wal), machine).await.unwrap()
}

fn at(index: u64) -> LogId {
    log_id(LogPosition { term: TERM, index })
}

/// The leader's request to append the entry at `index`, and to apply it.
fn append(index: u64) -> AppendEntriesRequest<TypeConfig> {
    let payload = if index == 0 {
        let voters = BTreeSet::from([ME, LEADER]);
        let members = [ME, LEADER].map(|id| (id, Peer::default()));
        let members = BTreeMap::from(members);
        EntryPayload::Membership(Membership::new(vec![voters], members).unwrap())
    } else {
        EntryPayload::Blank
    };
    AppendEntriesRequest {
        vote: Vote::new_committed(TERM, LEADER),
        prev_log_id: index.checked_sub(1).map(at),
        entries: vec![Entry { log_id: at(index), payload }],
        leader_commit: Some(at(index)),
    }
}

/// Awaits an answer that the member must give although it applies nothing.
async fn answered<T>(what: &str, answer: impl Future<Output = T>) -> T {
    let answer = tokio::time::timeout(PATIENCE, answer).await;
    answer.unwrap_or_else(|_| panic!("{what}: no answer within {PATIENCE:?}"))
}

/// However many apply orders are queued, a member answers its leader and candidates.
#[tokio::test]
async fn a_busy_state_machine_does_not_delay_the_protocol() {
    let dir = tempfile::tempdir().unwrap();
    let fault: OnFault = Arc::new(|fault| panic!("{fault}"));
    let wal = Arc::new(Wal::open(dir.path(), &wal::Options::default(), fault).unwrap());
    let gate = Arc::new(Semaphore::new(0));
    let raft = follower(wal, gate.clone()).await;
    for index in 0..ORDERS {
        let reply = answered("an entry", raft.append_entries(append(index))).await.unwrap();
        assert!(reply.is_success(), "entry {index}: {reply}");
    }
    let last = at(ORDERS - 1);
    let heartbeat =
        AppendEntriesRequest { prev_log_id: Some(last), entries: Vec::new(), ..append(ORDERS - 1) };
    let reply = answered("a heartbeat", raft.append_entries(heartbeat)).await.unwrap();
    assert!(reply.is_success(), "{reply}");
    // The leader itself asks for the vote, as after a transfer: its lease does not matter then.
    let candidate = VoteRequest {
        vote: Vote::new(TERM + 1, LEADER),
        last_log_id: Some(last),
        leadership_transfer: true,
    };
    let reply = answered("a vote", raft.vote(candidate)).await.unwrap();
    assert!(reply.vote_granted, "{reply}");
    let is_applied = raft.metrics().borrow_watched().last_applied.is_some();
    assert!(!is_applied, "the state machine stood still");
    gate.add_permits(1);
    let applied = raft.wait(Some(PATIENCE)).applied_index(Some(ORDERS - 1), "all orders").await;
    assert_eq!(applied.unwrap().last_applied.as_ref().map(position), Some(position(&last)));
    raft.shutdown().await.unwrap();
}
