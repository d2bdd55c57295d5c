//! The flags of a member's program.

use kube::ResourceExt as _;
use quorate_crd::names::{self, PORT_CLIENT, PORT_METRICS, PORT_PEER};
use quorate_crd::v1alpha1::{CompactionMode, QuorateCluster};

use super::files;
use super::pod::Start;

/// The percentage of the volume that the data may take. The rest leaves room for the second copy of
/// the data that exists while the database is defragmented or a snapshot is received.
const QUOTA_PERCENT: u64 = 45;
/// Bytes that the log and other files need beside the data.
const LOG_BYTES: u64 = 512 << 20;
/// The default quota is at least the size of the volume divided by this number.
const QUOTA_SHARE_MIN: u64 = 8;

/// The default quota of a member with a volume of this size, in bytes.
fn quota(volume_bytes: u64) -> u64 {
    let share = volume_bytes / 100 * QUOTA_PERCENT;
    share.saturating_sub(LOG_BYTES).max(volume_bytes / QUOTA_SHARE_MIN)
}

/// The flags of every start. They differ between members only in the member's name and URLs, and
/// in a quota that follows from the size of the member's volume.
pub(super) fn flags(cluster: &QuorateCluster, member: &str, volume_bytes: u64) -> Vec<String> {
    let name = cluster.name_any();
    let namespace = cluster.namespace().unwrap_or_default();
    let spec = &cluster.spec;
    let asked = spec.settings.quota.as_ref().and_then(|quota| quota.bytes().ok());
    let size = asked.unwrap_or_else(|| quota(volume_bytes));
    let file = |name: &str| format!("{}/{name}", files::CERTIFICATES);
    let mut flags = vec![
        format!("--name={member}"),
        format!("--data-dir={}", files::DATA),
        format!("--listen-client-urls=https://0.0.0.0:{PORT_CLIENT}"),
        format!("--listen-peer-urls=https://0.0.0.0:{PORT_PEER}"),
        format!("--listen-metrics-urls=http://0.0.0.0:{PORT_METRICS}"),
        format!("--advertise-client-urls={}", names::client_url(&name, member, &namespace)),
        format!("--initial-advertise-peer-urls={}", names::peer_url(&name, member, &namespace)),
        format!("--cert-file={}", file(files::CLIENT_CERTIFICATE)),
        format!("--key-file={}", file(files::CLIENT_KEY)),
        format!("--trusted-ca-file={}", file(files::CLIENT_AUTHORITY)),
        "--client-cert-auth".to_owned(),
        format!("--peer-cert-file={}", file(files::PEER_CERTIFICATE)),
        format!("--peer-key-file={}", file(files::PEER_KEY)),
        format!("--peer-trusted-ca-file={}", file(files::PEER_AUTHORITY)),
        "--peer-client-cert-auth".to_owned(),
        format!("--peer-cert-allowed-cn={}", cluster.uid().unwrap_or_default()),
        // A member is recognized by the common name of its certificate. Its DNS name is not looked
        // up, because the name of a new pod is not known everywhere at once.
        "--peer-skip-client-san-verification".to_owned(),
        format!("--quota-backend-bytes={size}"),
    ];
    if let Some(compaction) = &spec.settings.compaction {
        let mode = match compaction.mode {
            CompactionMode::Periodic => "periodic",
            CompactionMode::Revision => "revision",
        };
        flags.push(format!("--auto-compaction-mode={mode}"));
        flags.push(format!("--auto-compaction-retention={}", compaction.retention));
    }
    flags.extend(spec.settings.flags.iter().map(|(flag, value)| format!("--{flag}={value}")));
    flags
}

/// The flags that a member reads only at its first start. Later, its data directory replaces them.
pub(super) fn first_start(cluster: &QuorateCluster, member: &str, start: &Start) -> Vec<String> {
    let name = cluster.name_any();
    let namespace = cluster.namespace().unwrap_or_default();
    let (state, members) = match start {
        Start::Found => ("new", format!("{member}={}", names::peer_url(&name, member, &namespace))),
        Start::Join(members) => {
            let members = members.iter().map(|(name, peer_url)| format!("{name}={peer_url}"));
            ("existing", members.collect::<Vec<_>>().join(","))
        }
    };
    vec![
        format!("--initial-cluster={members}"),
        format!("--initial-cluster-state={state}"),
        format!("--initial-cluster-token={}", super::token(cluster)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_copies_of_the_data_and_the_log_fit_into_the_volume() {
        for gibibytes in 1..200 {
            let volume = gibibytes << 30;
            assert!(2 * quota(volume) + LOG_BYTES <= volume, "{gibibytes} GiB");
            assert!(quota(volume) >= 128 << 20, "{gibibytes} GiB");
        }
        assert_eq!(quota(10 << 30), (10 << 30) / 100 * 45 - (512 << 20));
    }
}
