//! Generates the server stubs. They use a codec of this crate, which checks messages before it
//! decodes them, shares bytes instead of copying them, and accepts encoded answers.

use tonic_build::manual::{Builder, Method, Service};

/// Which sides of a method are streams of messages.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Streams {
    Neither,
    Answers,
    Both,
}

use Streams::{Answers, Both, Neither};

/// A method: its name in Rust and on the wire, its request type and its answer type.
type Row<'a> = (&'a str, &'a str, &'a str, &'a str, Streams);

const KV: [Row<'_>; 6] = [
    ("range", "Range", "RangeRequest", "crate::codec::rows::EncodedRange", Neither),
    ("range_stream", "RangeStream", "RangeRequest", "crate::codec::rows::EncodedChunk", Answers),
    ("put", "Put", "PutRequest", "PutResponse", Neither),
    ("delete_range", "DeleteRange", "DeleteRangeRequest", "DeleteRangeResponse", Neither),
    ("txn", "Txn", "TxnRequest", "TxnResponse", Neither),
    ("compact", "Compact", "CompactionRequest", "CompactionResponse", Neither),
];

const WATCH: [Row<'_>; 1] =
    [("watch", "Watch", "WatchRequest", "crate::watch::frame::Frame", Both)];

const LEASE: [Row<'_>; 5] = [
    ("lease_grant", "LeaseGrant", "LeaseGrantRequest", "LeaseGrantResponse", Neither),
    ("lease_revoke", "LeaseRevoke", "LeaseRevokeRequest", "LeaseRevokeResponse", Neither),
    ("lease_keep_alive", "LeaseKeepAlive", "LeaseKeepAliveRequest", "LeaseKeepAliveResponse", Both),
    (
        "lease_time_to_live",
        "LeaseTimeToLive",
        "LeaseTimeToLiveRequest",
        "LeaseTimeToLiveResponse",
        Neither,
    ),
    ("lease_leases", "LeaseLeases", "LeaseLeasesRequest", "LeaseLeasesResponse", Neither),
];

const CLUSTER: [Row<'_>; 5] = [
    ("member_add", "MemberAdd", "MemberAddRequest", "MemberAddResponse", Neither),
    ("member_remove", "MemberRemove", "MemberRemoveRequest", "MemberRemoveResponse", Neither),
    ("member_update", "MemberUpdate", "MemberUpdateRequest", "MemberUpdateResponse", Neither),
    ("member_list", "MemberList", "MemberListRequest", "MemberListResponse", Neither),
    ("member_promote", "MemberPromote", "MemberPromoteRequest", "MemberPromoteResponse", Neither),
];

const MAINTENANCE: [Row<'_>; 8] = [
    ("alarm", "Alarm", "AlarmRequest", "AlarmResponse", Neither),
    ("status", "Status", "StatusRequest", "StatusResponse", Neither),
    ("defragment", "Defragment", "DefragmentRequest", "DefragmentResponse", Neither),
    ("hash", "Hash", "HashRequest", "HashResponse", Neither),
    ("hash_kv", "HashKV", "HashKvRequest", "HashKvResponse", Neither),
    ("snapshot", "Snapshot", "SnapshotRequest", "SnapshotResponse", Answers),
    ("move_leader", "MoveLeader", "MoveLeaderRequest", "MoveLeaderResponse", Neither),
    ("downgrade", "Downgrade", "DowngradeRequest", "DowngradeResponse", Neither),
];

const HEALTH: [Row<'_>; 3] = [
    ("check", "Check", "HealthCheckRequest", "HealthCheckResponse", Neither),
    ("list", "List", "HealthListRequest", "HealthListResponse", Neither),
    ("watch", "Watch", "HealthCheckRequest", "HealthCheckResponse", Answers),
];

/// A service of a protobuf package. Its messages are in `module` of `quorate_proto`.
fn service(name: &str, package: &str, module: &str, rows: &[Row<'_>]) -> Service {
    let path = |message: &str| {
        if message.contains("::") {
            message.to_owned()
        } else {
            format!("::quorate_proto::{module}::{message}")
        }
    };
    let mut service = Service::builder().name(name).package(package);
    for (name, route, input, output, streams) in rows {
        let mut method = Method::builder()
            .name(*name)
            .route_name(*route)
            .input_type(path(input))
            .output_type(path(output))
            .codec_path(match streams {
                Neither => "crate::codec::UnaryWire",
                Answers | Both => "crate::codec::StreamWire",
            });
        if *streams == Both {
            method = method.client_streaming();
        }
        if *streams != Neither {
            method = method.server_streaming();
        }
        service = service.method(method.build());
    }
    service.build()
}

fn main() {
    let etcd = |name, rows| service(name, "etcdserverpb", "etcdserverpb", rows);
    let services = [
        etcd("KV", &KV[..]),
        etcd("Watch", &WATCH),
        etcd("Lease", &LEASE),
        etcd("Cluster", &CLUSTER),
        etcd("Maintenance", &MAINTENANCE),
        service("Health", "grpc.health.v1", "health", &HEALTH),
    ];
    Builder::new().build_client(false).build_transport(false).compile(&services);
}
