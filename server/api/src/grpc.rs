//! The gRPC services. Each checks what a request says by itself, takes it to the member, and turns
//! the outcome into what clients of etcd expect.

pub(crate) mod cluster;
pub(crate) mod health;
pub(crate) mod kv;
pub(crate) mod lease;
pub(crate) mod maintenance;
pub(crate) mod range;
pub(crate) mod watch;

use quorate_raft::Account;
use tonic::Request;

/// What the connection of a request holds of the memory budget.
pub(crate) fn account_of<T>(request: &Request<T>) -> Account {
    request.extensions().get().cloned().expect("every call that is let in has one")
}

/// Server stubs, with our own codec.
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
