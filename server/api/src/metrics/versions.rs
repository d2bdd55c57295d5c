//! Counts requests by the API version of their clients.

use std::collections::BTreeSet;

use parking_lot::RwLock;
use prometheus::IntCounterVec;

use super::series::counters;

/// The label of requests whose client names no API version.
pub(crate) const NO_VERSION: &str = "unknown";
/// The label of requests whose API version has no series of its own.
const OTHER_VERSIONS: &str = "other";
/// Maximum number of API versions with a series of their own.
const VERSIONS_MAX: usize = 32;
/// Maximum length in bytes of an API version with a series of its own.
const VERSION_LENGTH_MAX: usize = 32;

/// Counts requests by the API version of their clients.
pub(crate) struct ClientRequests {
    pub(super) counters: IntCounterVec,
    /// The versions with a series of their own.
    versions: RwLock<BTreeSet<String>>,
}

impl ClientRequests {
    pub(super) fn new() -> Self {
        let counters = counters(
            "etcd_server_client_requests_total",
            "Requests, by the client's API version.",
            &["type", "client_api_version"],
        );
        Self { counters, versions: RwLock::default() }
    }

    /// Counts a request. Clients can send any text as their version, and a series is never removed.
    /// So only the first [`VERSIONS_MAX`] texts that look like versions get a series of their own.
    /// `NO_VERSION` has its own series too. All other texts share one series.
    pub(crate) fn count(&self, kind: &str, version: &str) {
        let shown = if self.has_series(version) { version } else { OTHER_VERSIONS };
        self.counters.with_label_values(&[kind, shown]).inc();
    }

    fn has_series(&self, version: &str) -> bool {
        if self.versions.read().contains(version) {
            return true;
        }
        let is_part = |c: char| c.is_ascii_alphanumeric() || "._-+".contains(c);
        let is_version = version.starts_with(|c: char| c.is_ascii_digit())
            && version.len() <= VERSION_LENGTH_MAX
            && version.chars().all(is_part);
        if !is_version {
            return version == NO_VERSION;
        }
        let mut versions = self.versions.write();
        let has_room = versions.len() < VERSIONS_MAX || versions.contains(version);
        if has_room {
            versions.insert(version.to_owned());
        }
        has_room
    }
}
