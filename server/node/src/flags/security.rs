//! The TLS flags.

use super::flag::{Flag, number, on, switch, value};

/// Flags of the client port.
pub(super) const CLIENTS: &[Flag] = &[
    value("cert-file", "FILE", "", "Certificate of the client port, with its chain, as PEM")
        .at("client-transport-security.cert-file"),
    value("key-file", "FILE", "", "Private key of that certificate, as PEM")
        .at("client-transport-security.key-file"),
    value(
        "trusted-ca-file",
        "FILE",
        "",
        "CA certificates that must have issued the clients' certificates, as PEM; without it, \
         clients need no certificate",
    )
    .at("client-transport-security.trusted-ca-file"),
    switch("client-cert-auth", "Require client certificates; requires --trusted-ca-file")
        .at("client-transport-security.client-cert-auth"),
    value(
        "client-cert-allowed-hostname",
        "NAMES",
        "",
        "Accept only clients whose certificate is for one of these hosts, separated by commas",
    )
    .at("client-transport-security.allowed-hostname"),
    value(
        "client-cert-allowed-cn",
        "NAMES",
        "",
        "Accept only clients whose certificate has one of these common names, separated by commas",
    )
    .at("client-transport-security.allowed-cn"),
    value(
        "client-crl-file",
        "FILE",
        "",
        "Refuse clients whose certificate is in this revocation list, as PEM or DER",
    ),
    switch("auto-tls", "Make a certificate in fixtures/client of the data directory, and use it")
        .at("client-transport-security.auto-tls"),
    number(
        "self-signed-cert-validity",
        "YEARS",
        "1",
        "Validity of the certificates of --auto-tls and --peer-auto-tls",
    ),
    value(
        "cipher-suites",
        "NAMES",
        "",
        "Cipher suites of TLS 1.2 for all connections, by Go's names, separated by commas \
         [default: all]",
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

/// Flags of HTTP for clients.
pub(super) const WEB: &[Flag] = &[
    on("enable-grpc-gateway", "Serve the JSON gateway, the HTTP paths /v3/..."),
    on("status-page", "Serve a page at / that shows the state of the cluster in a browser"),
    value(
        "cors",
        "ORIGINS",
        "*",
        "Origins of the web pages that may read answers, separated by commas; * for all",
    ),
    value(
        "host-whitelist",
        "HOSTS",
        "*",
        "Names by which HTTP clients without TLS may call this member, separated by commas; * for \
         all",
    ),
];

/// Flags of users.
pub(super) const USERS: &[Flag] = &[
    value(
        "auth-token",
        "KIND",
        "simple",
        "Tokens of users: simple, for random ones that the members keep; \
         jwt,sign-method=NAME,priv-key=FILE,pub-key=FILE,ttl=TIME, for signed ones; empty for none",
    ),
    number(
        "auth-token-ttl",
        "SECONDS",
        "300",
        "Time after which a simple token that is not used ends; 0 for 300",
    ),
    number(
        "bcrypt-cost",
        "COST",
        "10",
        "Work for the hash of a password, as an exponent of two: from 4 to 31",
    ),
];

/// Flags of connections between members.
pub(super) const PEERS: &[Flag] = &[
    value(
        "peer-cert-file",
        "FILE",
        "",
        "Certificate of this member for other members, with its chain, as PEM",
    )
    .at("peer-transport-security.cert-file"),
    value("peer-key-file", "FILE", "", "Private key of that certificate, as PEM")
        .at("peer-transport-security.key-file"),
    value(
        "peer-trusted-ca-file",
        "FILE",
        "",
        "CA certificates that must have issued the members' certificates, as PEM; without it, \
         any host can act as a member",
    )
    .at("peer-transport-security.trusted-ca-file"),
    switch(
        "peer-client-cert-auth",
        "Require certificates of calling members; requires --peer-trusted-ca-file",
    )
    .at("peer-transport-security.client-cert-auth"),
    value(
        "peer-cert-allowed-cn",
        "NAMES",
        "",
        "Accept only members whose certificate has one of these common names, separated by commas",
    )
    .at("peer-transport-security.allowed-cn"),
    value(
        "peer-cert-allowed-hostname",
        "NAMES",
        "",
        "Accept only members whose certificate is for one of these hosts, separated by commas",
    )
    .at("peer-transport-security.allowed-hostname"),
    value(
        "peer-crl-file",
        "FILE",
        "",
        "Refuse members whose certificate is in this revocation list, as PEM or DER",
    ),
    value(
        "peer-client-cert-file",
        "FILE",
        "",
        "Certificate for calls to other members, as PEM [default: that of --peer-cert-file]",
    )
    .at("peer-transport-security.client-cert-file"),
    value("peer-client-key-file", "FILE", "", "Private key of that certificate, as PEM")
        .at("peer-transport-security.client-key-file"),
    switch(
        "peer-auto-tls",
        "Make a certificate in fixtures/peer of the data directory, and use it; do not verify the \
         certificates of other members",
    )
    .at("peer-transport-security.auto-tls"),
    switch(
        "peer-skip-client-san-verification",
        "Do not require that the certificate of a calling member is for its address",
    )
    .at("peer-transport-security.skip-client-san-verification"),
];
