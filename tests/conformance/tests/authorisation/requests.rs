//! Requests on keys, leases and watches, with what they need.

use bytes::Bytes;
use prost::Message;
use quorate_proto::authpb::permission::Type::{self, Read, Write};
use quorate_proto::etcdserverpb as pb;
use quorate_proto::etcdserverpb::watch_request::RequestUnion;

use crate::callers::NUL;
use crate::model::{Need, Needs};

/// How a request is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// The call ends by itself.
    Ends,
    /// The first answer of the stream tells whether the watch was created.
    Watch,
    /// The first answer of the stream is of interest. A refused call ends without one.
    First,
}

/// A request and what it needs.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) name: String,
    pub(crate) path: &'static str,
    pub(crate) message: Bytes,
    pub(crate) shape: Shape,
    pub(crate) needs: Needs,
    /// The code of the answer to a caller who may ask.
    pub(crate) after: &'static str,
    /// Whether it adds data, so that it is refused while an alarm says that there is no space.
    pub(crate) adds: bool,
    /// Whether it deletes what other requests are about, and comes last.
    pub(crate) is_last: bool,
    /// Whether it must not be carried out: only callers who may not ask send it.
    pub(crate) is_fatal: bool,
    /// Whether only one caller, with this number, sends it; and only once.
    pub(crate) only: Option<usize>,
}

impl Request {
    /// A request that ends and succeeds if the caller may ask.
    pub(crate) fn new(
        name: impl Into<String>,
        path: &'static str,
        message: &impl Message,
        needs: Needs,
    ) -> Self {
        Self {
            name: name.into(),
            path,
            message: message.encode_to_vec().into(),
            shape: Shape::Ends,
            needs,
            after: "0",
            adds: false,
            is_last: false,
            is_fatal: false,
            only: None,
        }
    }

    pub(crate) fn shaped(self, shape: Shape) -> Self {
        Self { shape, ..self }
    }

    /// Whether it is one of the services that make several requests for one.
    pub(crate) fn is_claim(&self) -> bool {
        self.path.starts_with("/v3")
    }

    /// Whether it is a change of members. etcd loses one that is proposed beside another.
    pub(crate) fn changes_members(&self) -> bool {
        let method = self.path.strip_prefix("/etcdserverpb.Cluster/");
        method.is_some_and(|method| method != "MemberList")
    }

    /// With another code for callers who may ask.
    pub(crate) fn after(self, after: &'static str) -> Self {
        Self { after, ..self }
    }

    pub(crate) fn adding(self) -> Self {
        Self { adds: true, ..self }
    }

    pub(crate) fn last(self) -> Self {
        Self { is_last: true, ..self }
    }

    pub(crate) fn fatal(self) -> Self {
        Self { is_fatal: true, ..self }
    }
}

/// A range: its key and range end.
pub(crate) type Range = (&'static str, &'static str);

/// Ranges of all forms: single keys, parts of what roles permit, unions, without end, without keys.
pub(crate) const RANGES: [Range; 17] = [
    ("a5", ""),
    ("b5", ""),
    ("z5", ""),
    ("a", "b"),
    ("a5", "a6"),
    ("a5", "a5\0"),
    ("a", "c"),
    ("b", "c"),
    ("a", "c1"),
    ("m", NUL),
    ("n5", NUL),
    ("a", NUL),
    (NUL, NUL),
    (NUL, ""),
    ("a5", "a5"),
    ("b5", "a5"),
    ("z5", "z"),
];

/// Ranges in which no key is.
pub(crate) const VOIDS: [Range; 5] =
    [("a/void", ""), ("a/void1", "a/void2"), ("b/void", ""), ("m/void", ""), ("z/void", "z/void1")];

/// Keys that exist and have no lease.
pub(crate) const KEYS: [&str; 5] = ["a5", "a9", "b5", "m5", "z5"];

/// A lease with the keys that are attached to it.
pub(crate) struct Lease {
    pub(crate) id: i64,
    pub(crate) keys: &'static [&'static str],
}

/// The leases.
pub(crate) const LEASES: [Lease; 5] = [
    Lease { id: 7001, keys: &[] },
    Lease { id: 7002, keys: &["a/lease"] },
    Lease { id: 7003, keys: &["b/lease"] },
    Lease { id: 7004, keys: &["a/mixed", "z/mixed"] },
    Lease { id: 7005, keys: &["m/lease"] },
];
/// A lease that does not exist.
pub(crate) const UNKNOWN_LEASE: i64 = 9999;

/// The keys of a lease, with an access to each.
pub(crate) fn attached(kind: Type, id: i64) -> Vec<Need> {
    let lease = LEASES.iter().find(|lease| lease.id == id);
    lease.map_or(Vec::new(), |lease| lease.keys.iter().map(|key| (kind, *key, "")).collect())
}

pub(crate) fn range(range: Range) -> pb::RangeRequest {
    let (key, range_end) = range;
    pb::RangeRequest { key: key.into(), range_end: range_end.into(), ..Default::default() }
}

pub(crate) fn delete((key, range_end): Range, prev_kv: bool) -> pb::DeleteRangeRequest {
    pb::DeleteRangeRequest { key: key.into(), range_end: range_end.into(), prev_kv }
}

pub(crate) fn needs_of_delete((key, end): Range, prev_kv: bool) -> Vec<Need> {
    let reads = prev_kv.then_some((Read, key, end));
    [(Write, key, end)].into_iter().chain(reads).collect()
}

/// A put.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Put {
    pub(crate) key: &'static str,
    pub(crate) lease: i64,
    pub(crate) prev_kv: bool,
}

impl Put {
    /// The puts that change nothing that others rely on: a key with the lease that it has anyway,
    /// or with one that only callers with rights on such keys may use.
    pub(crate) fn all() -> Vec<Self> {
        let plain = KEYS.map(|key| (key, 0));
        let leased = [
            ("a/lease", 7002),
            ("b/lease", 7003),
            ("a/mixed", 7004),
            ("a9", 7004),
            ("m/lease", 7005),
            ("a5", UNKNOWN_LEASE),
        ];
        let all = plain.into_iter().chain(leased);
        let both =
            all.flat_map(|(key, lease)| [false, true].map(|prev_kv| Self { key, lease, prev_kv }));
        both.collect()
    }

    pub(crate) fn message(self) -> pb::PutRequest {
        let Self { key, lease, prev_kv } = self;
        let value = Bytes::from_static(b"value");
        pb::PutRequest { key: key.into(), value, lease, prev_kv, ..Default::default() }
    }

    pub(crate) fn needs(self) -> Vec<Need> {
        let Self { key, lease, prev_kv } = self;
        let reads = prev_kv.then_some((Read, key, ""));
        [(Write, key, "")].into_iter().chain(attached(Write, lease)).chain(reads).collect()
    }

    /// The code of the answer to a caller who may put.
    pub(crate) fn after(self) -> &'static str {
        if self.lease == UNKNOWN_LEASE { "5" } else { "0" }
    }
}

fn ranges() -> Vec<Request> {
    let mut requests = Vec::new();
    for one in RANGES {
        let needs = || Needs::keys(vec![(Read, one.0, one.1)]);
        for serializable in [false, true] {
            let plain = pb::RangeRequest { serializable, ..range(one) };
            let variants = [
                plain.clone(),
                pb::RangeRequest { count_only: true, ..plain.clone() },
                pb::RangeRequest { keys_only: true, ..plain.clone() },
                pb::RangeRequest { limit: 1, ..plain.clone() },
            ];
            for (number, message) in variants.into_iter().enumerate() {
                let name = format!("range {one:?} {serializable} {number}");
                requests.push(Request::new(name, "/etcdserverpb.KV/Range", &message, needs()));
            }
            let name = format!("stream {one:?} {serializable}");
            requests.push(Request::new(name, "/etcdserverpb.KV/RangeStream", &plain, needs()));
        }
    }
    requests
}

fn writes() -> Vec<Request> {
    let mut requests = Vec::new();
    for put in Put::all() {
        let needs = Needs::keys(put.needs());
        let name = format!("{put:?}");
        let request = Request::new(name, "/etcdserverpb.KV/Put", &put.message(), needs);
        requests.push(request.after(put.after()).adding());
    }
    for prev_kv in [false, true] {
        for one in VOIDS.into_iter().chain(RANGES) {
            let needs = Needs::keys(needs_of_delete(one, prev_kv));
            let name = format!("delete {one:?} {prev_kv}");
            let path = "/etcdserverpb.KV/DeleteRange";
            let request = Request::new(name, path, &delete(one, prev_kv), needs);
            requests.push(if VOIDS.contains(&one) { request } else { request.last() });
        }
    }
    let future = pb::CompactionRequest { revision: 1 << 40, physical: false };
    let compact = Request::new("compact", "/etcdserverpb.KV/Compact", &future, Needs::root());
    requests.push(compact.after("11"));
    requests
}

fn watches() -> Vec<Request> {
    let mut requests = Vec::new();
    // A watch of the empty key is one of the first key.
    for one in RANGES.into_iter().chain([("", ""), ("", NUL), ("", "b")]) {
        let key = if one.0.is_empty() { NUL } else { one.0 };
        let plain = pb::WatchCreateRequest {
            key: one.0.into(),
            range_end: one.1.into(),
            ..Default::default()
        };
        let variants = [
            plain.clone(),
            pb::WatchCreateRequest { prev_kv: true, progress_notify: true, ..plain.clone() },
            pb::WatchCreateRequest { start_revision: 1, fragment: true, ..plain.clone() },
        ];
        let has_keys = one.1.is_empty() || one.1 == NUL || one.1 > key;
        for (number, create) in variants.into_iter().enumerate() {
            let union = Some(RequestUnion::CreateRequest(create));
            let message = pb::WatchRequest { request_union: union };
            let needs = Needs::keys(vec![(Read, key, one.1)]);
            let name = format!("watch {one:?} {number}");
            let watch = Request::new(name, "/etcdserverpb.Watch/Watch", &message, needs);
            let after = if has_keys { "0" } else { "canceled" };
            requests.push(watch.shaped(Shape::Watch).after(after));
        }
    }
    requests
}

fn leases() -> Vec<Request> {
    let grant = pb::LeaseGrantRequest { ttl: 100_000, id: LEASES[0].id };
    let grant = Request::new("grant", "/etcdserverpb.Lease/LeaseGrant", &grant, Needs::user());
    let all = LEASES.iter().flat_map(|lease| attached(Read, lease.id)).collect();
    let list = Request::new(
        "leases",
        "/etcdserverpb.Lease/LeaseLeases",
        &pb::LeaseLeasesRequest {},
        Needs::user_with(all),
    );
    let mut requests = vec![grant.after("9").adding(), list];
    for id in LEASES.iter().map(|lease| lease.id).chain([UNKNOWN_LEASE]) {
        let keep_alive = pb::LeaseKeepAliveRequest { id };
        let needs = Needs::user_with(attached(Write, id));
        let path = "/etcdserverpb.Lease/LeaseKeepAlive";
        requests.push(Request::new(format!("keep alive {id}"), path, &keep_alive, needs));
        for keys in [false, true] {
            let ask = pb::LeaseTimeToLiveRequest { id, keys };
            let read = if keys { attached(Read, id) } else { Vec::new() };
            let name = format!("time to live {id} {keys}");
            let path = "/etcdserverpb.Lease/LeaseTimeToLive";
            requests.push(Request::new(name, path, &ask, Needs::user_with(read)));
        }
    }
    let revoke = pb::LeaseRevokeRequest { id: UNKNOWN_LEASE };
    let path = "/etcdserverpb.Lease/LeaseRevoke";
    requests.push(Request::new("revoke nothing", path, &revoke, Needs::user()).after("5"));
    requests
}

/// A lease that a caller, given by its number, may try to revoke, with the keys that are attached
/// to it.
pub(crate) fn revocable(caller: usize) -> [(i64, Vec<String>); 3] {
    let number = i64::try_from(caller).expect("there are few callers");
    let key = |start: &str| format!("{start}/{caller}");
    [
        (8000 + number, vec![key("a/one")]),
        (8100 + number, vec![key("a/two"), key("z/two")]),
        (8200 + number, Vec::new()),
    ]
}

/// Each caller's attempts to revoke its leases.
fn revocations(callers: usize) -> impl Iterator<Item = Request> {
    (0..callers).flat_map(|caller| {
        let needs = [
            vec![(Write, "a/one", "")],
            vec![(Write, "a/two", ""), (Write, "z/two", "")],
            Vec::new(),
        ];
        revocable(caller).into_iter().zip(needs).map(move |((id, keys), needs)| Request {
            only: Some(caller),
            ..Request::new(
                format!("revoke {keys:?}"),
                "/etcdserverpb.Lease/LeaseRevoke",
                &pb::LeaseRevokeRequest { id },
                Needs::user_with(needs),
            )
        })
    })
}

/// All of them, for this many callers.
pub(crate) fn all(callers: usize) -> Vec<Request> {
    let mut requests = [ranges(), writes(), watches(), leases()].concat();
    requests.extend(revocations(callers));
    requests
}
