//! Certificates.

use super::{Flag, switch, value};

/// Flags of the client port.
pub(super) const CLIENTS: &[Flag] = &[
    value("cert-file", "FILE", "", "Certificate of the client port, with its chain, as PEM"),
    value("key-file", "FILE", "", "Private key of that certificate, as PEM"),
    value(
        "trusted-ca-file",
        "FILE",
        "",
        "Authorities whose certificates clients must show, as PEM; without it, anybody is a client",
    ),
    switch("client-cert-auth", "Require that clients show a certificate; needs --trusted-ca-file"),
    value(
        "client-cert-allowed-hostname",
        "NAMES",
        "",
        "Let in only clients whose certificate is for one of these hosts, separated by commas",
    ),
    value(
        "tls-min-version",
        "VERSION",
        "TLS1.2",
        "Oldest version of TLS, of all ports: TLS1.2 or TLS1.3",
    ),
    value(
        "tls-max-version",
        "VERSION",
        "",
        "Newest version of TLS, of all ports: TLS1.2 or TLS1.3",
    ),
];

/// Flags of connections between members.
pub(super) const PEERS: &[Flag] = &[
    value(
        "peer-cert-file",
        "FILE",
        "",
        "Certificate that this member shows to others, with its chain, as PEM",
    ),
    value("peer-key-file", "FILE", "", "Private key of that certificate, as PEM"),
    value(
        "peer-trusted-ca-file",
        "FILE",
        "",
        "Authorities whose certificates members must show to each other, as PEM; without it, \
         anybody is taken for a member",
    ),
    switch(
        "peer-client-cert-auth",
        "Require that members show a certificate; needs --peer-trusted-ca-file",
    ),
    value(
        "peer-cert-allowed-cn",
        "NAMES",
        "",
        "Take only those for members whose certificate has one of these common names, separated \
         by commas",
    ),
    value(
        "peer-cert-allowed-hostname",
        "NAMES",
        "",
        "Take only those for members whose certificate is for one of these hosts, separated by \
         commas",
    ),
    switch(
        "peer-skip-client-san-verification",
        "Let members call from addresses that their certificates are not for",
    ),
];
