//! The gRPC services. Each validates a request, passes it to the member, and converts the outcome
//! into the answer that etcd's clients expect.

pub(crate) mod cluster;
pub(crate) mod health;
pub(crate) mod kv;
pub(crate) mod lease;
pub(crate) mod maintenance;
pub(crate) mod range;
pub(crate) mod watch;

use http::HeaderMap;
use quorate_raft::Account;
use tonic::Request;

/// The metadata key by which a client requires a leader.
const HAS_LEADER: &str = "hasleader";

/// Whether the client requires a leader: without one, its call must be refused.
pub(crate) fn needs_leader(headers: &HeaderMap) -> bool {
    headers.get(HAS_LEADER).is_some_and(|value| value == "true")
}

/// The memory account of the request's connection.
pub(crate) fn account_of<T>(request: &Request<T>) -> Account {
    request.extensions().get().cloned().expect("`serve_grpc` adds it to every call")
}

/// The generated server stubs.
pub(crate) mod stubs {
    #![allow(
        missing_docs,
        unreachable_pub,
        clippy::all,
        clippy::allow_attributes_without_reason,
        clippy::pedantic,
        clippy::use_self,
        clippy::unwrap_used,
        clippy::or_fun_call,
        reason = "generated code"
    )]
    include!(concat!(env!("OUT_DIR"), "/etcdserverpb.KV.rs"));
    include!(concat!(env!("OUT_DIR"), "/etcdserverpb.Watch.rs"));
    include!(concat!(env!("OUT_DIR"), "/etcdserverpb.Lease.rs"));
    include!(concat!(env!("OUT_DIR"), "/etcdserverpb.Cluster.rs"));
    include!(concat!(env!("OUT_DIR"), "/etcdserverpb.Maintenance.rs"));
    include!(concat!(env!("OUT_DIR"), "/grpc.health.v1.Health.rs"));
}
