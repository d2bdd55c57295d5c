//! The state machine alone, with the parts of the API that answers depend on.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use quorate_core::base::Base as _;
use quorate_core::base::memory::MemoryBase;
use quorate_core::store::{FrozenMemtable, RestoredState};
use quorate_core::txn::check;
use quorate_core::txn::is_read_only;
use quorate_core::{Command, Error, LogPosition, Reply, Store, Tally};
use quorate_proto::etcdserverpb as pb;
use quorate_test_script::{Answer, AuthAnswer, AuthCall, Failure, Target};

use crate::status::{invalid, refused};
use crate::users::{self, Call};
use crate::watches::Watches;

/// etcd's default limit of operations in a transaction.
const TXN_OPS_MAX: usize = 128;
/// The member id in answers.
const MEMBER_ID: u64 = 1;

/// A state machine on in-memory storage.
///
/// Between commands it freezes the active memtable, flushes the frozen memtable to the
/// base, or compacts the base. A seed decides which happens when.
pub(crate) struct StateMachine {
    store: Store,
    base: MemoryBase,
    frozen: Option<FrozenMemtable>,
    index: u64,
    watches: BTreeMap<String, Watches>,
    /// State of the random numbers; 0 keeps everything in the active memtable.
    seed: u64,
}

impl StateMachine {
    /// An empty state machine. `seed` decides when it freezes, flushes and compacts; 0 means never.
    pub(crate) fn new(seed: u64) -> Self {
        let base = MemoryBase::default();
        let store = Store::new(Arc::new(base.clone()), RestoredState::default());
        Self { store, base, frozen: None, index: 0, watches: BTreeMap::new(), seed }
    }

    fn apply(&mut self, command: &Command) -> Answer<Reply> {
        self.index += 1;
        self.store.begin_batch();
        let at = LogPosition { term: 1, index: self.index };
        let applied = self.store.apply(at, &command.encode()).expect("no fault");
        applied.reply.map_err(refused)
    }

    /// The next pseudorandom number.
    fn random(&mut self) -> u64 {
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        self.seed
    }

    fn freeze(&mut self) {
        if let Some(frozen) = self.store.freeze() {
            self.frozen = Some(frozen);
        }
    }

    fn flush(&mut self) {
        if let Some(frozen) = self.frozen.take() {
            self.base = self.base.merge(&frozen.memtable.read(), frozen.revision);
            self.store.shared().install_base(Arc::new(self.base.clone()), true);
        }
    }

    fn compact_base(&mut self) {
        let compacted = self.store.shared().compacted();
        if compacted > 0 && compacted <= self.base.revision() {
            self.base = self.base.compact(compacted);
            self.store.shared().install_base(Arc::new(self.base.clone()), false);
        }
    }

    fn revision(&self) -> i64 {
        self.store.shared().revision()
    }
}

fn failed(error: Error) -> Failure {
    match error {
        Error::Refusal(refusal) => refused(refusal),
        Error::Fault(fault) => panic!("{fault}"),
    }
}

/// Completes a header: in a server, the API fills in ids and term.
fn filled(header: Option<pb::ResponseHeader>) -> Option<pb::ResponseHeader> {
    header.map(|header| pb::ResponseHeader {
        cluster_id: 1,
        member_id: MEMBER_ID,
        raft_term: 1,
        ..header
    })
}

pub(crate) fn header(revision: i64) -> Option<pb::ResponseHeader> {
    filled(Some(pb::ResponseHeader { revision, ..Default::default() }))
}

impl Target for StateMachine {
    fn member_id(&mut self) -> u64 {
        MEMBER_ID
    }

    fn reorganize(&mut self) {
        if self.seed == 0 {
            return;
        }
        match self.random() % 6 {
            0 | 1 => self.freeze(),
            2 | 3 => self.flush(),
            4 => self.compact_base(),
            _ => {}
        }
    }

    fn range(&mut self, request: pb::RangeRequest) -> Answer<pb::RangeResponse> {
        check::check_range(&request).map_err(invalid)?;
        let view = self.store.shared().view();
        let mut kvs = Vec::new();
        let summary = view.range(&request, true, &mut kvs).map_err(failed)?;
        let header = header(view.revision());
        Ok(pb::RangeResponse { header, kvs, more: summary.more, count: summary.count })
    }

    fn put(&mut self, request: pb::PutRequest) -> Answer<pb::PutResponse> {
        check::check_put(&request).map_err(invalid)?;
        let Reply::Put(mut response) = self.apply(&Command::Put(request))? else { other_kind() };
        response.header = filled(response.header);
        Ok(response)
    }

    fn delete_range(&mut self, request: pb::DeleteRangeRequest) -> Answer<pb::DeleteRangeResponse> {
        check::check_delete_range(&request).map_err(invalid)?;
        let reply = self.apply(&Command::DeleteRange(request))?;
        let Reply::DeleteRange(mut response) = reply else { other_kind() };
        response.header = filled(response.header);
        Ok(response)
    }

    fn txn(&mut self, request: pb::TxnRequest) -> Answer<pb::TxnResponse> {
        check::check_txn(&request, TXN_OPS_MAX).map_err(invalid)?;
        let mut response = if is_read_only(&request) {
            let view = self.store.shared().view();
            view.read_txn(&request, &mut Tally::default()).map_err(failed)?
        } else {
            let Reply::Txn(response) = self.apply(&Command::Txn(request))? else { other_kind() };
            response
        };
        response.header = filled(response.header);
        Ok(response)
    }

    fn compact(&mut self, request: pb::CompactionRequest) -> Answer<pb::CompactionResponse> {
        let reply = self.apply(&Command::Compact(request))?;
        let Reply::Compact(mut response) = reply else { other_kind() };
        response.header = filled(response.header);
        Ok(response)
    }

    fn lease_grant(&mut self, request: pb::LeaseGrantRequest) -> Answer<pb::LeaseGrantResponse> {
        if request.id == 0 {
            return Err(Failure::unsupported("choosing the id of a lease"));
        }
        let reply = self.apply(&Command::LeaseGrant(request))?;
        let Reply::LeaseGrant(mut response) = reply else { other_kind() };
        response.header = filled(response.header);
        Ok(response)
    }

    fn lease_revoke(&mut self, request: pb::LeaseRevokeRequest) -> Answer<pb::LeaseRevokeResponse> {
        let reply = self.apply(&Command::LeaseRevoke(request))?;
        let Reply::LeaseRevoke(mut response) = reply else { other_kind() };
        response.header = filled(response.header);
        Ok(response)
    }

    fn lease_time_to_live(
        &mut self,
        request: pb::LeaseTimeToLiveRequest,
    ) -> Answer<pb::LeaseTimeToLiveResponse> {
        let pb::LeaseTimeToLiveRequest { id, keys } = request;
        let lease = self.store.shared().tables(|tables| tables.leases.get(&id).copied());
        let keys = if keys {
            self.store.shared().view().lease_keys(id).expect("no fault")
        } else {
            Vec::new()
        };
        Ok(pb::LeaseTimeToLiveResponse {
            header: header(self.revision()),
            id,
            ttl: lease.map_or(-1, |lease| lease.ttl),
            granted_ttl: lease.map_or(0, |lease| lease.ttl),
            keys,
        })
    }

    fn lease_leases(&mut self) -> Answer<pb::LeaseLeasesResponse> {
        let ids: Vec<i64> =
            self.store.shared().tables(|tables| tables.leases.keys().copied().collect());
        let leases = ids.into_iter().map(|id| pb::LeaseStatus { id }).collect();
        Ok(pb::LeaseLeasesResponse { header: header(self.revision()), leases })
    }

    fn hash_kv(&mut self, request: pb::HashKvRequest) -> Answer<pb::HashKvResponse> {
        let hash = self.store.shared().view().hash_kv(request.revision).map_err(failed)?;
        Ok(pb::HashKvResponse {
            header: header(self.revision()),
            hash: hash.hash,
            compact_revision: hash.compact_revision,
            hash_revision: hash.revision,
        })
    }

    fn alarm(&mut self, request: pb::AlarmRequest) -> Answer<pb::AlarmResponse> {
        let Reply::Alarm(mut response) = self.apply(&Command::Alarm(request))? else {
            other_kind()
        };
        response.header = filled(response.header);
        Ok(response)
    }

    fn auth(&mut self, call: AuthCall) -> Answer<AuthAnswer> {
        let mut answer = match Call::from(call) {
            Call::Read(call) => users::read(self.store.shared(), &call)?,
            Call::Change(command) => {
                let Reply::Done = self.apply(&command)? else { other_kind() };
                AuthAnswer::default()
            }
        };
        answer.header = header(self.revision());
        Ok(answer)
    }

    fn watch(&mut self, stream: &str, request: pb::WatchRequest) -> Answer<()> {
        let view = self.store.shared().view();
        self.watches.entry(stream.to_owned()).or_default().handle(&view, request)
    }

    fn watched(&mut self, stream: &str, _wait: Duration) -> Answer<Option<pb::WatchResponse>> {
        let view = self.store.shared().view();
        Ok(self.watches.entry(stream.to_owned()).or_default().next(&view))
    }
}

fn other_kind() -> ! {
    panic!("the state machine answered something else")
}
