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
//! | [`peer`] | `quorate.peer.v1` | `Peer`: what members say to each other, our own |
//!
//! Packages, names, numbers and types are those of etcd 3.7.1; `tests/wire.rs` compares them with
//! etcd's own descriptors, in both directions.
//!
//! # Features
//!
//! Without features there are messages only, and no dependency on a network stack.
//!
//! - `client`: a `*_client` module for each service, for instance `etcdserverpb::kv_client`.
//! - `server`: a `*_server` module for each service that is not served yet, for instance
//!   `etcdserverpb::auth_server`. The others the API serves through a codec of its own, which
//!   bounds the depth of a message before it is decoded.
//!
//! # What holds for every message
//!
//! - A `bytes` field is a [`Bytes`](prost::bytes::Bytes). Decoded from a `Bytes`, it shares the
//!   allocation and keeps all of it alive; copy what is kept for long.
//! - An enum field is an `i32`: a number this version does not know is kept, and refusing it is
//!   left to the reader.
//! - The encoding is canonical: fields in the order of their numbers, zero values left out. Unknown
//!   fields are dropped by decoding.
//! - Decoding recurses as deep as the message nests, and there is no limit: `TxnRequest` nests
//!   without end, and so do groups in unknown fields of any message. What comes from elsewhere
//!   must be bounded before it is decoded: [`nesting`] does that, and the codec of `Peer` uses it.
//! - Messages that carry a password, a password's hash or a token do not show it in `Debug`.

#![forbid(unsafe_code)]

pub mod nesting;
#[cfg(any(feature = "client", feature = "server"))]
mod peer_codec;
mod redact;

/// The descriptors of all packages, as a serialized `google.protobuf.FileDescriptorSet`, without
/// comments.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// Declares the module of a package: its messages and client stubs, and its server stubs if it has
/// services.
macro_rules! package {
    ($(#[$doc:meta])* $module:ident, $package:literal $(, $server:literal)?) => {
        $(#[$doc])*
        #[allow(
            missing_docs,
            clippy::allow_attributes_without_reason,
            reason = "generated code; what its names say is not repeated in the definitions"
        )]
        pub mod $module {
            include!(concat!(env!("OUT_DIR"), "/", $package, ".rs"));
            $(
                #[cfg(feature = "server")]
                include!(concat!(env!("OUT_DIR"), "/server/", $server, ".rs"));
            )?
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
    "etcdserverpb",
    "etcdserverpb"
);
package!(
    /// The lock service.
    v3lockpb,
    "v3lockpb",
    "v3lockpb"
);
package!(
    /// The election service.
    v3electionpb,
    "v3electionpb",
    "v3electionpb"
);
package!(
    /// The standard gRPC health service.
    health,
    "grpc.health.v1"
);
package!(
    /// What the members of a cluster say to each other; no part of etcd.
    peer,
    "quorate.peer.v1"
);
