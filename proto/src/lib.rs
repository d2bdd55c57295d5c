//! The etcd v3 wire protocol as Rust types.
//!
//! One module per protobuf package, generated from the definitions in `proto/etcd` at build time:
//!
//! | module | package | services |
//! |---|---|---|
//! | [`etcdserverpb`] | `etcdserverpb` | `KV`, `Watch`, `Lease`, `Cluster`, `Maintenance`, `Auth` |
//! | [`mvccpb`] | `mvccpb` | |
//! | [`authpb`] | `authpb` | |
//! | [`v3lockpb`] | `v3lockpb` | `Lock` |
//! | [`v3electionpb`] | `v3electionpb` | `Election` |
//! | [`health`] | `grpc.health.v1` | `Health` |
//! | [`peer`] | `quorate.peer.v1` | `Peer`: Quorate's own protocol between members |
//!
//! Packages, names, numbers and types are those of etcd 3.7.3; `tests/wire.rs` compares them with
//! etcd's descriptors, in both directions. `peer` is not part of etcd.
//!
//! # Features
//!
//! Without features the crate has only messages, and no dependency on a network stack.
//!
//! - `client`: a `*_client` module for each service, for instance `etcdserverpb::kv_client`.
//! - `server`: the `peer_server` module of `Peer`. The API serves etcd's services through its own
//!   codec, which bounds the depth of a message before it decodes it.
//!
//! # Properties of every message
//!
//! - A `bytes` field is a [`Bytes`](prost::bytes::Bytes). When decoded from a `Bytes`, it shares
//!   that allocation and keeps all of it alive: copy a field before keeping it for long.
//! - An enum field is an `i32` and keeps unknown numbers. The reader has to refuse them.
//! - The encoding is canonical: fields in ascending order of their numbers, without zero values.
//!   Decoding drops unknown fields.
//! - Decoding recurses as deep as the message nests, without a limit: a `TxnRequest` can nest to
//!   any depth, and so can groups in unknown fields of any message. Check an untrusted message with
//!   [`nesting`] before decoding it, as the codec of `Peer` does.
//! - `Debug` does not show passwords, hashes of passwords and tokens.

#![forbid(unsafe_code)]

pub mod nesting;
#[cfg(any(feature = "client", feature = "server"))]
mod peer_codec;
mod redact;

/// The descriptors of all packages, as a serialized `google.protobuf.FileDescriptorSet`, without
/// comments.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// Declares the module of a package: its messages and stubs.
macro_rules! package {
    ($(#[$doc:meta])* $module:ident, $package:literal) => {
        $(#[$doc])*
        #[allow(
            missing_docs,
            clippy::allow_attributes_without_reason,
            clippy::missing_errors_doc,
            reason = "generated code; comments in the definitions do not repeat the names"
        )]
        pub mod $module {
            include!(concat!(env!("OUT_DIR"), "/", $package, ".rs"));
        }
    };
}

package!(
    /// Keys and events.
    mvccpb,
    "mvccpb"
);
package!(
    /// Users, roles and permissions.
    authpb,
    "authpb"
);
package!(
    /// The client API.
    etcdserverpb,
    "etcdserverpb"
);
package!(
    /// The lock service.
    v3lockpb,
    "v3lockpb"
);
package!(
    /// The election service.
    v3electionpb,
    "v3electionpb"
);
package!(
    /// The standard gRPC health service.
    health,
    "grpc.health.v1"
);
package!(
    /// The protocol between the members of a cluster; not part of etcd.
    peer,
    "quorate.peer.v1"
);
