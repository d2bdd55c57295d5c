//! The versions that clients see.

/// The version of etcd that clients see. Quorate is compatible with it.
pub const ETCD_VERSION: &str = "3.7.3";
/// The cluster version and storage version that clients see.
pub const CLUSTER_VERSION: &str = "3.7.0";
/// Quorate's own version. The program with planted mistakes calls itself by a later one, so that
/// tests can update members to it.
pub const VERSION: &str = if cfg!(feature = "planted") {
    concat!(env!("CARGO_PKG_VERSION_MAJOR"), ".", env!("CARGO_PKG_VERSION_MINOR"), ".999")
} else {
    env!("CARGO_PKG_VERSION")
};
