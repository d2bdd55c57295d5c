//! openraft's own test suite for the log store and the state machine.

use openraft::StorageError;
use openraft::testing::log::{StoreBuilder, Suite};
use quorate_core::store::RestoredState;
use quorate_proto::etcdserverpb::PutRequest;
use quorate_storage::db::engine::{self, Engine};
use quorate_storage::db::open::OpenedDatabase;
use quorate_storage::db::part::PartPosition;
use quorate_storage::wal::{self, Wal};
use tempfile::TempDir;

use super::*;
use crate::disk::flusher::FlushOptions;
use crate::ground::checks::IntegrityChecks;
use crate::log::store::LogStore;
use crate::log::types::Payload;

const MIB: usize = 1 << 20;

/// The state machine, with the steps that other parts of the member take around a snapshot.
struct Tested(StateMachine);

impl Tested {
    /// Flushes everything applied, as the member does before it builds a snapshot.
    async fn flush(&mut self) {
        if let Some(frozen) = self.0.store.freeze() {
            self.0.flusher.flush(frozen);
        }
        self.0.flusher.idle().await;
    }

    /// Receives a snapshot, as the peer port does before it installs one.
    fn receive(&self, snapshot: SnapshotHandle) -> SnapshotHandle {
        let SnapshotHandle::Image(image) = snapshot else { return snapshot };
        let mut incoming = self.0.flusher.engine().receive(&image.id()).unwrap();
        for part in image.parts(PartPosition::default()).unwrap() {
            incoming.add(&part.unwrap().content).unwrap();
        }
        SnapshotHandle::Received(Box::new(incoming.finish().unwrap()))
    }
}

impl RaftStateMachine<TypeConfig> for Tested {
    type SnapshotData = SnapshotHandle;
    type SnapshotBuilder = CheckpointReader;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        self.0.applied_state().await
    }

    async fn apply<S>(&mut self, entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<TypeConfig>>> + Unpin + Send,
    {
        self.0.apply(entries).await
    }

    async fn try_create_snapshot_builder(&mut self, force: bool) -> Option<CheckpointReader> {
        self.flush().await;
        self.0.try_create_snapshot_builder(force).await
    }

    async fn get_snapshot_builder(&mut self) -> CheckpointReader {
        self.0.get_snapshot_builder().await
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: SnapshotHandle,
    ) -> io::Result<()> {
        let snapshot = self.receive(snapshot);
        self.0.install_snapshot(meta, snapshot).await
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<Snapshot>> {
        self.0.get_current_snapshot().await
    }
}

/// Builds an empty log and an empty state machine in a directory of their own.
struct Builder;

impl StoreBuilder<TypeConfig, LogStore, Tested, TempDir> for Builder {
    async fn build(&self) -> Result<(TempDir, LogStore, Tested), StorageError<TypeConfig>> {
        let dir = tempfile::tempdir().unwrap();
        let fault: OnFault = Arc::new(|fault| panic!("{fault}"));
        let options = wal::Options::default();
        let wal = Arc::new(Wal::open(&dir.path().join("wal"), &options, fault.clone()).unwrap());
        let options = engine::Options::default();
        let opened = OpenedDatabase::open(&dir.path().join("db"), options, true).unwrap();
        let store = Store::new(opened.base(), RestoredState::default());
        let shared = store.shared().clone();
        let engine = Engine::start(opened, shared.clone(), fault.clone()).unwrap();
        let options = FlushOptions::default();
        let flusher = Flusher::new(options, wal.clone(), engine, shared.clone(), fault.clone());
        let machine = StateMachine::new(Parts {
            me: 0,
            waiters: Arc::default(),
            logins: Arc::default(),
            store,
            membership: StoredMembership::default(),
            members: watch::Sender::default(),
            flusher,
            lessor: Arc::new(Lessor::new(shared)),
            progress: Progress::new(0),
            quota: Arc::new(Quota::new(0)),
            metrics: Arc::new(Metrics::new(0, &IntegrityChecks::default(), Duration::MAX)),
            on_fault: fault,
        });
        Ok((dir, LogStore::new(wal), Tested(machine)))
    }
}

type Cases = Suite<TypeConfig, LogStore, Tested, Builder, TempDir>;

/// A test for each of these cases of the suite.
macro_rules! cases {
    ($($case:ident)*) => {
        $(
            // The cases pause for seconds, in case a purge is not done at once.
            #[tokio::test(start_paused = true)]
            async fn $case() {
                let (_dir, log, machine) = Builder.build().await.unwrap();
                Cases::$case(log, machine).await.unwrap();
            }
        )*
    };
}

// All cases but two. `last_applied_state` applies entry 5 after entry 3, but a log has no gap, and
// the store stops the member at one. `get_initial_state_log_ids` purges entries that were never
// applied, and then expects a snapshot. A member purges only entries that its database contains.
cases! {
    last_membership_in_log_initial
    last_membership_in_log
    last_membership_in_log_multi_step
    get_membership_initial
    get_membership_from_log_and_empty_sm
    get_membership_from_empty_log_and_sm
    get_membership_from_log_le_sm_last_applied
    get_membership_from_log_gt_sm_last_applied_1
    get_membership_from_log_gt_sm_last_applied_2
    get_initial_state_without_init
    get_initial_state_membership_from_empty_log_and_sm
    get_initial_state_membership_from_sm_inlog_is_smaller
    get_initial_state_membership_from_log_insm_is_smaller
    get_initial_state_with_state
    get_initial_state_last_log_gt_sm
    get_initial_state_last_log_lt_sm
    get_initial_state_inverted_log_order
    get_initial_state_conflict_at_same_index
    get_initial_state_re_apply_committed
    save_vote
    get_log_entries
    limited_get_log_entries
    leader_bounded_stream
    entries_stream
    try_get_log_entry
    log_reader_reads_new_entries
    initial_logs
    get_log_state
    get_log_id
    last_id_in_log
    purge_logs_upto_0
    purge_logs_upto_5
    purge_logs_upto_20
    delete_logs_after_11
    delete_logs_after_5
    delete_logs_after_0
    delete_logs_after_none
    append_to_log
    snapshot_meta
    snapshot_meta_optional
    apply_single
    apply_multiple
}

#[tokio::test(start_paused = true)]
async fn transfer_snapshot() {
    Cases::transfer_snapshot(&Builder).await.unwrap();
}

/// The check of the disks lowers the limit on a small one.
#[tokio::test]
async fn memtables_stay_small_on_a_small_disk() {
    let (_dir, _log, Tested(mut machine)) = Builder.build().await.unwrap();
    machine.flusher.limit_memtables(MIB as u64);
    for index in 0..24 {
        let put =
            PutRequest { key: "key".into(), value: vec![7; MIB].into(), ..PutRequest::default() };
        let payload = EntryPayload::Normal(Payload::local(Command::Put(put).encode()));
        let entry = Entry { log_id: log_id(LogPosition { term: 1, index }), payload };
        let entries = futures_util::stream::iter([Ok((entry, None))]);
        machine.apply(entries).await.unwrap();
        // Each of the two takes one value more than its limit.
        let bytes = machine.store.shared().memtable_bytes();
        assert!(bytes < 5 * MIB, "{bytes} bytes after {index}");
    }
    machine.flusher.idle().await;
}
