//! The TLS flags.

use super::flag::{Flag, switch, value};

/// Flags of the client port.
pub(super) const CLIENTS: &[Flag] = &[
    value("cert-file", "FILE", "", "Certificate of the client port, with its chain, as PEM"),
    value("key-file", "FILE", "", "Private key of that certificate, as PEM"),
    value(
        "trusted-ca-file",
        "FILE",
        "",
        "CA certificates that must have issued the clients' certificates, as PEM; without it, \
         clients need no certificate",
    ),
    switch("client-cert-auth", "Require client certificates; requires --trusted-ca-file"),
    value(
        "client-cert-allowed-hostname",
        "NAMES",
        "",
        "Accept only clients whose certificate is for one of these hosts, separated by commas",
    ),
    value(
        "tls-min-version",
        "VERSION",
        "TLS1.2",
        "Oldest TLS version for all connections: TLS1.2 or TLS1.3",
    ),
    value(
        "tls-max-version",
        "VERSION",
        "",
        "Newest TLS version for all connections: TLS1.2 or TLS1.3",
    ),
];

/// Flags of connections between members.
pub(super) const PEERS: &[Flag] = &[
    value(
        "peer-cert-file",
        "FILE",
        "",
        "Certificate of this member for other members, with its chain, as PEM",
    ),
    value("peer-key-file", "FILE", "", "Private key of that certificate, as PEM"),
    value(
        "peer-trusted-ca-file",
        "FILE",
        "",
        "CA certificates that must have issued the members' certificates, as PEM; without it, \
         any host can act as a member",
    ),
    switch(
        "peer-client-cert-auth",
        "Require certificates of calling members; requires --peer-trusted-ca-file",
    ),
    value(
        "peer-cert-allowed-cn",
        "NAMES",
        "",
        "Accept only members whose certificate has one of these common names, separated by commas",
    ),
    value(
        "peer-cert-allowed-hostname",
        "NAMES",
        "",
        "Accept only members whose certificate is for one of these hosts, separated by commas",
    ),
    switch(
        "peer-skip-client-san-verification",
        "Accept members that connect from addresses that their certificates are not for",
    ),
];
