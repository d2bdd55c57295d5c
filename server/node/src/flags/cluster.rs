//! The flags for founding and joining a cluster, and for changes of its members.

use super::flag::{Flag, number, on, switch, time, value};

/// Flags under "Cluster".
pub(super) const FLAGS: &[Flag] = &[
    value(
        "advertise-client-urls",
        "URLS",
        "http://localhost:2379",
        "Client URLs of this member as advertised to clients",
    ),
    value(
        "initial-advertise-peer-urls",
        "URLS",
        "http://localhost:2380",
        "Peer URLs of this member as advertised to other members; used at the first start only",
    ),
    value(
        "initial-cluster",
        "NAME=URL,..",
        "",
        "The founding members; used at the first start only [default: this member]",
    ),
    value(
        "initial-cluster-state",
        "STATE",
        "new",
        "Whether the cluster is new or existing; used at the first start only",
    ),
    value(
        "initial-cluster-token",
        "TOKEN",
        "etcd-cluster",
        "Distinguishes clusters with the same URLs; used at the first start only",
    ),
    switch(
        "force-new-cluster",
        "Make this member the only one of its cluster, with its data, after the others are lost",
    ),
    on("strict-reconfig-check", "Refuse member changes that could lose the quorum"),
    number("max-learners", "COUNT", "1", "Largest number of learners in the cluster"),
    on(
        "pre-vote",
        "Start an election only if enough members say that this one could win; always done",
    ),
    on(
        "initial-election-tick-advance",
        "Do not wait a whole election timeout at the start; ignored",
    ),
];

/// Flags under "Integrity".
pub(super) const INTEGRITY: &[Flag] = &[
    value(
        "feature-gates",
        "NAME=BOOL,..",
        "",
        "InitialCorruptCheck=true: start only if the data equal those of the other members. \
         CompactHashCheck=true: compare the members' data after compactions",
    ),
    time(
        "corrupt-check-time",
        "0s",
        "Time between the leader's comparisons of the members' newest data; 0s for never",
    ),
    time(
        "compact-hash-check-time",
        "1m0s",
        "Time between the comparisons that the leader makes for CompactHashCheck",
    ),
];

/// Flags under "Discovery".
pub(super) const DISCOVERY: &[Flag] = &[
    value(
        "discovery-srv",
        "DOMAIN",
        "",
        "Make a new cluster of the members in the SRV records _etcd-server-ssl._tcp.DOMAIN and \
         _etcd-server._tcp.DOMAIN",
    ),
    value(
        "discovery-srv-name",
        "SUFFIX",
        "",
        "Look for _etcd-server-ssl-SUFFIX and _etcd-server-SUFFIX instead",
    ),
    value(
        "discovery-token",
        "TOKEN",
        "",
        "Make a new cluster of the members that register under this token; also the cluster's \
         token",
    )
    .at("discovery-config.token")
    .secret(),
    value(
        "discovery-endpoints",
        "URLS",
        "",
        "Client URLs of the discovery service, an etcd or Quorate cluster, separated by commas",
    )
    .at("discovery-config.client.endpoints"),
    time(
        "discovery-dial-timeout",
        "2s",
        "Time limit of a connection attempt to the discovery service",
    )
    .at("discovery-config.client.dial-timeout"),
    time("discovery-request-timeout", "5s", "Time limit of a request to the discovery service")
        .at("discovery-config.client.request-timeout"),
    time(
        "discovery-keepalive-time",
        "2s",
        "Idle time of a connection before the discovery service is pinged",
    )
    .at("discovery-config.client.keepalive-time"),
    time(
        "discovery-keepalive-timeout",
        "6s",
        "Time limit of the discovery service's answer to a ping",
    )
    .at("discovery-config.client.keepalive-timeout"),
    on(
        "discovery-insecure-transport",
        "Use no TLS for endpoints without a scheme, unless certificates are given",
    )
    .at("discovery-config.client.secure.insecure-transport"),
    switch(
        "discovery-insecure-skip-tls-verify",
        "Do not verify the certificate of the discovery service; for tests",
    )
    .at("discovery-config.client.secure.insecure-skip-tls-verify"),
    value("discovery-cert", "FILE", "", "Client certificate for the discovery service, as PEM")
        .at("discovery-config.client.secure.cert"),
    value("discovery-key", "FILE", "", "Private key of that certificate, as PEM")
        .at("discovery-config.client.secure.key"),
    value(
        "discovery-cacert",
        "FILE",
        "",
        "CA certificates to verify the discovery service with, as PEM [default: the system's]",
    )
    .at("discovery-config.client.secure.cacert"),
    value("discovery-user", "NAME", "", "User at the discovery service: USER or USER:PASSWORD")
        .at("discovery-config.client.auth.username")
        .secret(),
    value("discovery-password", "PASSWORD", "", "Password of that user")
        .at("discovery-config.client.auth.password")
        .secret(),
    value(
        "discovery-fallback",
        "ACTION",
        "exit",
        "Action when discovery fails; only exit, as in etcd",
    )
    .not_in_file(),
];
