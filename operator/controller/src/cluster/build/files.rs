//! The places of a member's files in its pod.

/// Where the volume is mounted.
pub const VOLUME: &str = "/var/lib/quorate";
/// The data directory. It is not the root of the volume, which may hold `lost+found`.
pub const DATA: &str = "/var/lib/quorate/data";
/// Where the member's Secret is mounted.
pub const CERTIFICATES: &str = "/etc/quorate/tls";

/// The certificate of the client port.
pub const CLIENT_CERTIFICATE: &str = "client.crt";
/// Its key.
pub const CLIENT_KEY: &str = "client.key";
/// The authority of clients.
pub const CLIENT_AUTHORITY: &str = "client-ca.crt";
/// The certificate that other members see.
pub const PEER_CERTIFICATE: &str = "peer.crt";
/// Its key.
pub const PEER_KEY: &str = "peer.key";
/// The authority of members.
pub const PEER_AUTHORITY: &str = "peer-ca.crt";
