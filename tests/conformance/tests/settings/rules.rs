//! etcd's alert rules, applied to Quorate's metrics. Each function is one rule. It looks at two
//! metrics pages of a member, and describes what it would alert about.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use quorate_test_support::cluster::Cluster;
use quorate_test_support::http;
use quorate_test_support::metrics::{self, Labels, Sample};

/// A metrics page.
#[derive(Clone, Debug)]
pub(crate) struct Page {
    at: Instant,
    samples: BTreeMap<String, Vec<(Labels, f64)>>,
}

impl Page {
    /// The page of a server; `None` if it does not answer.
    pub(crate) fn get(address: &str) -> Option<Self> {
        let text = http::get(address, "/metrics")?;
        let mut samples: BTreeMap<String, Vec<_>> = BTreeMap::new();
        for Sample { name, labels, value } in metrics::samples(&text) {
            samples.entry(name).or_default().push((labels, value));
        }
        Some(Self { at: Instant::now(), samples })
    }

    /// All series of a metric.
    pub(crate) fn series(&self, name: &str) -> &[(Labels, f64)] {
        self.samples.get(name).map_or(&[], Vec::as_slice)
    }

    /// The value of a metric without labels.
    ///
    /// # Panics
    /// If there is no such metric.
    pub(crate) fn value(&self, name: &str) -> f64 {
        self.series(name).first().unwrap_or_else(|| panic!("{name} is missing")).1
    }

    fn at(&self, name: &str, labels: &Labels) -> f64 {
        let found = self.series(name).iter().find(|(of, _)| of == labels);
        found.map_or(0.0, |(_, value)| *value)
    }
}

/// A member's metrics pages at the beginning and the end of a time span.
#[derive(Clone, Debug)]
pub(crate) struct Span {
    pub(crate) before: Page,
    pub(crate) after: Page,
}

impl Span {
    fn seconds(&self) -> f64 {
        (self.after.at - self.before.at).as_secs_f64()
    }

    /// The increase of each series of a counter.
    fn increases(&self, name: &str) -> Vec<(Labels, f64)> {
        let grew = self.after.series(name).iter();
        grew.map(|(labels, now)| (labels.clone(), now - self.before.at(name, labels))).collect()
    }

    /// The quantile `part` (0 to 1) of each series of a histogram.
    fn quantiles(&self, name: &str, part: f64) -> Vec<(Labels, f64)> {
        let mut histograms: BTreeMap<Labels, Vec<(f64, f64)>> = BTreeMap::new();
        for (mut labels, count) in self.increases(&format!("{name}_bucket")) {
            let bound = labels.remove("le").unwrap().parse().unwrap();
            histograms.entry(labels).or_default().push((bound, count));
        }
        let quantiles = histograms.into_iter().filter_map(|(labels, mut buckets)| {
            buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
            let (_, all) = *buckets.last()?;
            let rank = part * all;
            let place = buckets.iter().position(|(_, count)| *count >= rank)?;
            let (start, below) = place.checked_sub(1).map_or((0.0, 0.0), |i| buckets[i]);
            let (end, count) = buckets[place];
            // As in Prometheus: in the last bucket, only the lower bound is known.
            let within = (rank - below) / (count - below);
            let value = if end.is_infinite() { start } else { start + (end - start) * within };
            (all > 0.0).then_some((labels, value))
        });
        quantiles.collect()
    }

    fn slow(&self, name: &str, seconds: f64) -> Vec<String> {
        let slow = self.quantiles(name, 0.99).into_iter().filter(|(_, took)| *took > seconds);
        slow.map(|(labels, took)| format!("{name} {labels:?}: {took} s")).collect()
    }
}

/// A rule; returns what it would alert about.
pub(crate) type Rule = fn(&Span) -> Vec<String>;

/// All rules, except those on series that etcd has only with `--metrics=extensive`, and the one
/// that enough members are up, which [`pages`] implies.
pub(crate) const RULES: &[(&str, Rule)] = &[
    ("etcdMembersDown", members_down),
    ("etcdNoLeader", no_leader),
    ("etcdHighNumberOfLeaderChanges", leader_changes),
    ("etcdHighNumberOfFailedGRPCRequests", failed_requests),
    ("etcdMemberCommunicationSlow", |s| s.slow("etcd_network_peer_round_trip_time_seconds", 0.15)),
    ("etcdHighNumberOfFailedProposals", failed_proposals),
    ("etcdHighFsyncDurations", |s| s.slow("etcd_disk_wal_fsync_duration_seconds", 0.5)),
    ("etcdHighCommitDurations", |s| s.slow("etcd_disk_backend_commit_duration_seconds", 0.25)),
    ("etcdDatabaseQuotaLowSpace", low_space),
    ("etcdExcessiveDatabaseGrowth", growth),
    ("etcdDatabaseHighFragmentationRatio", fragmentation),
];

/// More than one failure per hundred seconds to send to a member.
fn members_down(span: &Span) -> Vec<String> {
    let failures = span.increases("etcd_network_peer_sent_failures_total").into_iter();
    let failing = failures.filter(|(_, count)| count / span.seconds() > 0.01);
    failing.map(|(labels, count)| format!("{count} failures {labels:?}")).collect()
}

fn no_leader(span: &Span) -> Vec<String> {
    let leaderless = span.after.value("etcd_server_has_leader") == 0.0;
    leaderless.then(|| "no leader".to_owned()).into_iter().collect()
}

fn leader_changes(span: &Span) -> Vec<String> {
    let changes = span.increases("etcd_server_leader_changes_seen_total").into_iter();
    changes.filter(|(_, count)| *count >= 4.0).map(|(_, count)| format!("{count}")).collect()
}

/// More than one percent of a method's calls end with a code that indicates a fault of the server.
fn failed_requests(span: &Span) -> Vec<String> {
    const WRONG: [&str; 7] = [
        "Unknown",
        "FailedPrecondition",
        "ResourceExhausted",
        "Internal",
        "Unavailable",
        "DataLoss",
        "DeadlineExceeded",
    ];
    let mut methods: BTreeMap<String, (f64, f64)> = BTreeMap::new();
    for (labels, count) in span.increases("grpc_server_handled_total") {
        let method = format!("{}/{}", labels["grpc_service"], labels["grpc_method"]);
        let (failed, all) = methods.entry(method).or_default();
        *all += count;
        if WRONG.contains(&labels["grpc_code"].as_str()) {
            *failed += count;
        }
    }
    let failing = methods.into_iter().filter(|(_, (failed, all))| failed / all > 0.01);
    failing.map(|(method, (failed, all))| format!("{method}: {failed} of {all}")).collect()
}

fn failed_proposals(span: &Span) -> Vec<String> {
    let failures = span.increases("etcd_server_proposals_failed_total").into_iter();
    let failing = failures.filter(|(_, count)| count / span.seconds() > 5.0);
    failing.map(|(_, count)| format!("{count} failed")).collect()
}

const TOTAL: &str = "etcd_mvcc_db_total_size_in_bytes";
const IN_USE: &str = "etcd_mvcc_db_total_size_in_use_in_bytes";
const QUOTA: &str = "etcd_server_quota_backend_bytes";

/// The size is above 95 % of the quota.
pub(crate) fn low_space(span: &Span) -> Vec<String> {
    let size = span.after.value(TOTAL);
    let quota = span.after.value(QUOTA);
    (size / quota > 0.95).then(|| format!("{size} of {quota}")).into_iter().collect()
}

/// The size will exceed the quota if it grows for as long again as it did in the span. The original
/// rule looks four hours back and four hours ahead.
fn growth(span: &Span) -> Vec<String> {
    let before = span.before.value(TOTAL);
    let after = span.after.value(TOTAL);
    let then = after + (after - before);
    let quota = span.after.value(QUOTA);
    (then > quota).then(|| format!("{before}, {after}, {then} of {quota}")).into_iter().collect()
}

/// Less than half of the size is in use, and more than 100 MiB are.
fn fragmentation(span: &Span) -> Vec<String> {
    let size = span.after.value(TOTAL);
    let used = span.after.value(IN_USE);
    let is_wasteful = used / size < 0.5 && used > 104_857_600.0;
    is_wasteful.then(|| format!("{used} of {size}")).into_iter().collect()
}

/// The metrics pages of all members, all of which must answer.
pub(crate) fn pages(cluster: &Cluster) -> Vec<Page> {
    let members = cluster.members.iter();
    members.map(|member| Page::get(&member.address()).unwrap()).collect()
}

/// All alerts, by rule and member. The original rules wait for minutes before they alert; here, a
/// rule must hold in all spans.
pub(crate) fn alerts(spans: &[Vec<Span>]) -> Vec<String> {
    let mut alerts = Vec::new();
    for (name, rule) in RULES {
        let members = (0..spans[0].len()).collect::<BTreeSet<_>>();
        for member in members {
            let found: Vec<_> = spans.iter().map(|members| rule(&members[member])).collect();
            if found.iter().all(|found| !found.is_empty()) {
                alerts.push(format!("{name} at member {}: {found:?}", member + 1));
            }
        }
    }
    alerts
}
