//! How a member comes to its cluster, and how the members of it may change.

use super::{Flag, on, switch, value};

/// Flags under "Cluster".
pub(super) const FLAGS: &[Flag] = &[
    value(
        "advertise-client-urls",
        "URLS",
        "http://localhost:2379",
        "Where clients reach this member, as told to them",
    ),
    value(
        "initial-advertise-peer-urls",
        "URLS",
        "http://localhost:2380",
        "Where other members reach this member; of meaning at the first start only",
    ),
    value(
        "initial-cluster",
        "NAME=URL,..",
        "",
        "The members that found the cluster; of meaning at the first start only \
         [default: this member]",
    ),
    value(
        "initial-cluster-state",
        "STATE",
        "new",
        "Whether the cluster is new or existing; of meaning at the first start only",
    ),
    value(
        "initial-cluster-token",
        "TOKEN",
        "etcd-cluster",
        "Keeps clusters with the same URLs apart; of meaning at the first start only",
    ),
    switch(
        "force-new-cluster",
        "Make this member, with its data, the only one of its cluster: when the others are lost",
    ),
    on("strict-reconfig-check", "Refuse changes of the members that could cost the quorum"),
    value("max-learners", "COUNT", "1", "Members without a vote that the cluster may have"),
    on(
        "pre-vote",
        "Have a member ask whether it could win before it stands for election; always done",
    ),
    on(
        "initial-election-tick-advance",
        "Do not wait a whole election timeout at the start; of no meaning here",
    ),
];

/// Flags under "Integrity".
pub(super) const INTEGRITY: &[Flag] = &[
    value(
        "feature-gates",
        "NAME=BOOL,..",
        "",
        "InitialCorruptCheck=true: start only with the data that the other members have. \
         CompactHashCheck=true: compare what compactions left",
    ),
    value(
        "corrupt-check-time",
        "TIME",
        "0s",
        "How often the leader compares the members' newest data; 0s for never",
    ),
    value(
        "compact-hash-check-time",
        "TIME",
        "1m0s",
        "How often the leader compares what the last compaction left, with CompactHashCheck",
    ),
];

/// Flags under "Discovery".
pub(super) const DISCOVERY: &[Flag] = &[
    value(
        "discovery-srv",
        "DOMAIN",
        "",
        "Found the cluster with the members in the SRV records _etcd-server-ssl._tcp.DOMAIN and \
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
        "Found the cluster with those who register under this token; keeps clusters apart as well",
    ),
    value(
        "discovery-endpoints",
        "URLS",
        "",
        "Where they register: clients' URLs of an etcd or Quorate cluster, separated by commas",
    ),
    value(
        "discovery-dial-timeout",
        "TIME",
        "2s",
        "How long a connection to the discovery service may take",
    ),
    value(
        "discovery-request-timeout",
        "TIME",
        "5s",
        "How long a request to the discovery service may take",
    ),
    value(
        "discovery-keepalive-time",
        "TIME",
        "2s",
        "How long a connection is silent before the discovery service is pinged",
    ),
    value(
        "discovery-keepalive-timeout",
        "TIME",
        "6s",
        "How long the discovery service may take for a ping",
    ),
    on(
        "discovery-insecure-transport",
        "Speak to endpoints without a scheme without TLS, unless certificates are given",
    ),
    switch(
        "discovery-insecure-skip-tls-verify",
        "Do not verify the certificate of the discovery service; for tests",
    ),
    value("discovery-cert", "FILE", "", "Certificate shown to the discovery service, as PEM"),
    value("discovery-key", "FILE", "", "Private key of that certificate, as PEM"),
    value(
        "discovery-cacert",
        "FILE",
        "",
        "Authorities whose certificates the discovery service may show, as PEM \
         [default: the system's]",
    ),
    value("discovery-user", "NAME", "", "User, or USER:PASSWORD, of the discovery service"),
    value("discovery-password", "PASSWORD", "", "Password of that user"),
    value(
        "discovery-fallback",
        "WHAT",
        "exit",
        "What to do when discovery fails; only exit, as in etcd",
    ),
];
