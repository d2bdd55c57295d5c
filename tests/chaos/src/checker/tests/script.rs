//! A correct store. The tests corrupt its history.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use quorate_proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use quorate_proto::etcdserverpb::request_op::Request as Op;
use quorate_proto::etcdserverpb::{
    CompactionResponse, Compare, DeleteRangeRequest, HashKvRequest, HashKvResponse,
    LeaseGrantResponse, LeaseKeepAliveResponse, LeaseLeasesResponse, LeaseRevokeRequest,
    LeaseRevokeResponse, LeaseStatus, LeaseTimeToLiveRequest, LeaseTimeToLiveResponse, PutRequest,
    RangeRequest, RequestOp, ResponseHeader, StatusResponse, TxnRequest, WatchCreateRequest,
    WatchResponse,
};
use quorate_proto::mvccpb::Event;
use tonic::Code;

use crate::checker::evaluate::evaluate;
use crate::checker::model::Model;
use crate::history::{
    Audit, Clock, History, Moment, Observation, Observed, Operation, Outcome, Request, Response,
};
use crate::workload::value::value;

/// The refusal of a compacted revision.
pub(super) const COMPACTED: (Code, &str) =
    (Code::OutOfRange, "etcdserver: mvcc: required revision has been compacted");
/// The refusal for a missing lease.
pub(super) const LEASE_NOT_FOUND: (Code, &str) =
    (Code::NotFound, "etcdserver: requested lease not found");

/// The refusal for a full disk.
pub(super) const NO_SPACE: (Code, &str) =
    (Code::ResourceExhausted, "etcdserver: mvcc: database space exceeded");

/// A store with one client and one watch.
pub(super) struct Script {
    clock: Clock,
    waited: Duration,
    store: Model,
    pub(super) leases: BTreeSet<i64>,
    granted: i64,
    pub(super) compacted: i64,
    term: u64,
    index: u64,
    watching: bool,
    pub(super) operations: Vec<Operation>,
    observations: Vec<Observation>,
    events: Vec<Event>,
    all: Vec<Event>,
}

/// A put. The script fills in the value.
pub(super) fn put(key: &'static str, lease: i64) -> Request {
    Request::Put(PutRequest { key: key.into(), lease, ..Default::default() })
}

pub(super) fn get(key: &'static str) -> Request {
    Request::Range(RangeRequest { key: key.into(), ..Default::default() })
}

pub(super) fn delete(key: &'static str, range_end: &'static str) -> Request {
    let key = key.into();
    let range_end = range_end.into();
    Request::DeleteRange(DeleteRangeRequest { key, range_end, prev_kv: true })
}

/// A range of all keys.
pub(super) fn range() -> RangeRequest {
    let all = Bytes::from_static(b"\0");
    RangeRequest { key: all.clone(), range_end: all, ..Default::default() }
}

pub(super) fn list() -> Request {
    Request::Range(range())
}

pub(super) fn time_to_live(id: i64) -> Request {
    Request::LeaseTimeToLive(LeaseTimeToLiveRequest { id, keys: true })
}

/// Puts a key if the last modification of the key is at `revision`, and reads the key otherwise.
pub(super) fn swap(key: &'static str, revision: i64) -> Request {
    let put = PutRequest { key: key.into(), ..Default::default() };
    let compare = Compare {
        result: CompareResult::Equal as i32,
        target: CompareTarget::Mod as i32,
        key: key.into(),
        target_union: Some(TargetUnion::ModRevision(revision)),
        ..Default::default()
    };
    let get = RangeRequest { key: key.into(), ..Default::default() };
    let op = |request| RequestOp { request: Some(request) };
    Request::Txn(TxnRequest {
        compare: vec![compare],
        success: vec![op(Op::RequestPut(put))],
        failure: vec![op(Op::RequestRange(get))],
    })
}

impl Script {
    pub(super) fn new() -> Self {
        Self {
            clock: Clock::new(),
            waited: Duration::ZERO,
            store: Model::default(),
            leases: BTreeSet::new(),
            granted: 0,
            compacted: -1,
            term: 2,
            index: 10,
            watching: false,
            operations: Vec::new(),
            observations: Vec::new(),
            events: Vec::new(),
            all: Vec::new(),
        }
    }

    /// Applies and answers a request. Returns the index of the operation in `operations`.
    pub(super) fn ask(&mut self, request: Request) -> usize {
        let (id, invoked, request) = self.begin(request);
        let response = self.carry_out(&request);
        self.end(id, invoked, request, Outcome::Answered(response))
    }

    /// Loses the response to a request; `happens` says whether the request is applied.
    pub(super) fn lose(&mut self, request: Request, happens: bool) -> Operation {
        let (id, invoked, request) = self.begin(request);
        if happens {
            self.carry_out(&request);
        }
        let place = self.end(id, invoked, request, Outcome::Unknown("lost".to_owned()));
        self.operations[place].clone()
    }

    /// Applies a lost operation now.
    pub(super) fn happen(&mut self, operation: &Operation) {
        self.carry_out(&operation.request);
    }

    /// Refuses a request.
    pub(super) fn refuse(&mut self, request: Request, (code, text): (Code, &str)) {
        let (id, invoked, request) = self.begin(request);
        self.end(id, invoked, request, Outcome::Refused(code, text.to_owned()));
    }

    /// Expires a lease.
    pub(super) fn expire(&mut self, id: i64) {
        self.leases.remove(&id);
        self.write(&Request::LeaseRevoke(LeaseRevokeRequest { id }));
    }

    /// Lets time pass.
    pub(super) fn wait(&mut self, seconds: u64) {
        self.waited += Duration::from_secs(seconds);
    }

    fn now(&self) -> Moment {
        let Moment { order, elapsed } = self.clock.now();
        Moment { order, elapsed: elapsed + self.waited }
    }

    /// Restarts the member, in a new term.
    pub(super) fn restart(&mut self) {
        self.term += 1;
        self.index += 1;
    }

    /// Watches all keys from the first write on.
    pub(super) fn watch(&mut self) {
        self.watching = true;
        let all = Bytes::from_static(b"\0");
        self.observe(Observed::Requested(WatchCreateRequest {
            key: all.clone(),
            range_end: all,
            start_revision: 2,
            prev_kv: true,
            ..Default::default()
        }));
    }

    /// Sends the watch a progress notification.
    pub(super) fn progress(&mut self) {
        self.tell(Vec::new());
    }

    /// Audits the store. Returns the history since the last audit.
    pub(super) fn audit(&mut self) -> History {
        let since = self.now();
        self.ask(Request::LeaseLeases);
        self.ask(Request::HashKv(HashKvRequest { revision: 0 }));
        self.ask(list());
        let until = self.now();
        History {
            operations: std::mem::take(&mut self.operations),
            observations: std::mem::take(&mut self.observations),
            audit: Audit { events: std::mem::take(&mut self.events), since, until },
        }
    }

    /// All events so far.
    pub(super) fn everything(&self) -> Vec<Event> {
        self.all.clone()
    }

    /// Makes the changes of a request, without an operation in the history.
    pub(super) fn write(&mut self, request: &Request) {
        let base = self.store.revision();
        let changes =
            evaluate(&self.store, request, base).expect("the model can evaluate it").changes;
        let events: Vec<Event> = changes.iter().map(|change| change.event(true)).collect();
        if events.is_empty() {
            return;
        }
        self.store.extend(&events).expect("the events are the next ones");
        self.events.extend_from_slice(&events);
        self.all.extend_from_slice(&events);
        self.index += 1;
        self.tell(events);
    }

    fn begin(&mut self, mut request: Request) -> (u64, Moment, Request) {
        let id = self.clock.operation_id();
        if let Request::Put(put) = &mut request {
            put.value = value(id, 0, 40);
        }
        if let Request::Txn(txn) = &mut request
            && let Some(Op::RequestPut(put)) = &mut txn.success[0].request
        {
            put.value = value(id, 0, 40);
        }
        (id, self.now(), request)
    }

    fn end(&mut self, id: u64, invoked: Moment, request: Request, outcome: Outcome) -> usize {
        let returned = self.now();
        let operation = Operation { id, client: 1, member: 0, invoked, returned, request, outcome };
        self.operations.push(operation);
        self.operations.len() - 1
    }

    fn header(&self) -> Option<ResponseHeader> {
        Some(ResponseHeader {
            revision: self.store.revision(),
            raft_term: self.term,
            cluster_id: 1,
            member_id: 1,
        })
    }

    fn carry_out(&mut self, request: &Request) -> Response {
        let evaluated = evaluate(&self.store, request, self.store.revision());
        if evaluated.is_some() {
            self.write(request);
        }
        let header = self.header();
        match (request, evaluated.map(|evaluated| evaluated.response)) {
            (Request::LeaseRevoke(revoke), _) => {
                self.leases.remove(&revoke.id);
                Response::LeaseRevoke(LeaseRevokeResponse { header })
            }
            (_, Some(mut response)) => {
                match &mut response {
                    Response::Range(r) => r.header = header,
                    Response::Put(r) => r.header = header,
                    Response::DeleteRange(r) => r.header = header,
                    Response::Txn(r) => r.header = header,
                    _ => unreachable!("nothing else is evaluated"),
                }
                response
            }
            (request, None) => self.maintain(request),
        }
    }

    fn maintain(&mut self, request: &Request) -> Response {
        let header = self.header();
        match request {
            Request::Compact(compact) => {
                self.compacted = compact.revision;
                Response::Compact(CompactionResponse { header })
            }
            Request::LeaseGrant(grant) => {
                self.leases.insert(grant.id);
                self.granted = grant.ttl;
                let id = grant.id;
                let ttl = grant.ttl;
                Response::LeaseGrant(LeaseGrantResponse { header, id, ttl, ..Default::default() })
            }
            Request::LeaseKeepAlive(keep_alive) => {
                let id = keep_alive.id;
                let ttl = if self.leases.contains(&id) { self.granted } else { 0 };
                Response::LeaseKeepAlive(LeaseKeepAliveResponse { header, id, ttl })
            }
            Request::LeaseTimeToLive(time) => {
                let there = self.leases.contains(&time.id);
                Response::LeaseTimeToLive(LeaseTimeToLiveResponse {
                    header,
                    id: time.id,
                    ttl: if there { self.granted } else { -1 },
                    granted_ttl: if there { self.granted } else { 0 },
                    keys: self.store.attached(time.id, self.store.revision()),
                })
            }
            Request::LeaseLeases => {
                let leases = self.leases.iter().map(|id| LeaseStatus { id: *id }).collect();
                Response::LeaseLeases(LeaseLeasesResponse { header, leases })
            }
            Request::HashKv(_) => Response::HashKv(HashKvResponse {
                header,
                hash: 1,
                compact_revision: self.compacted,
                hash_revision: self.store.revision(),
            }),
            Request::Status => Response::Status(StatusResponse {
                header,
                raft_index: self.index,
                raft_applied_index: self.index,
                ..Default::default()
            }),
            other => unreachable!("no script asks for {other:?}"),
        }
    }

    fn tell(&mut self, events: Vec<Event>) {
        if self.watching {
            let header = self.header();
            self.observe(Observed::Received(WatchResponse {
                header,
                events,
                ..Default::default()
            }));
        }
    }

    fn observe(&mut self, what: Observed) {
        let at = self.now();
        self.observations.push(Observation { watch: 1, member: 0, at, what });
    }
}
