//! The purposes of ports.

/// The purpose of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// gRPC and HTTP pages for clients.
    Clients,
    /// gRPC only, because the HTTP pages have a port of their own.
    ClientsWithoutPages,
    /// HTTP pages for clients.
    Pages,
    /// HTTP pages for monitoring.
    Metrics,
    /// Other members.
    Peers,
}
