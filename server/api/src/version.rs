//! The versions that clients see.

/// The version of etcd that clients see. Quorate is compatible with it.
pub const ETCD_VERSION: &str = "3.7.1";
/// The cluster version and storage version that clients see.
pub const CLUSTER_VERSION: &str = "3.7.0";
/// Quorate's own version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
