//! The operator's metrics.

use std::time::Duration;

use prometheus::{
    Encoder as _, Gauge, GaugeVec, Histogram, HistogramOpts, IntCounterVec, Opts, Registry,
    TextEncoder,
};
use quorate_crd::v1alpha1::QuorateClusterStatus;

use crate::cluster::Key;

/// The labels of the metrics of a cluster.
const CLUSTER: [&str; 2] = ["namespace", "cluster"];

/// The operator's metrics.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Registry,
    rounds: IntCounterVec,
    round_seconds: Histogram,
    steps: IntCounterVec,
    leads: Gauge,
    available: GaugeVec,
    can_lose: GaugeVec,
    used: GaugeVec,
    changes: GaugeVec,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Metrics with a registry of their own.
    #[must_use]
    pub fn new() -> Self {
        let registry = Registry::new();
        let counter = |name: &str, help: &str, labels: &[&str]| {
            let counter = IntCounterVec::new(Opts::new(name, help), labels);
            let counter = counter.expect("the name is valid");
            registry.register(Box::new(counter.clone())).expect("the name is used once");
            counter
        };
        let gauge = |name: &str, help: &str| {
            let gauge = GaugeVec::new(Opts::new(name, help), &CLUSTER);
            let gauge = gauge.expect("the name is valid");
            registry.register(Box::new(gauge.clone())).expect("the name is used once");
            gauge
        };
        let rounds = counter(
            "quorate_operator_rounds_total",
            "Rounds of work on a cluster, by how they ended.",
            &["result"],
        );
        let steps = counter(
            "quorate_operator_steps_total",
            "Steps, by name and by how they ended.",
            &["step", "result"],
        );
        let available =
            gauge("quorate_operator_cluster_available", "1 if the cluster serves, else 0.");
        let can_lose = gauge(
            "quorate_operator_cluster_can_lose",
            "How many more voters can fail before the cluster stops serving.",
        );
        let used = gauge(
            "quorate_operator_cluster_used_percent",
            "How full the fullest member is, of its quota.",
        );
        let changes = gauge(
            "quorate_operator_cluster_change_deadline_seconds",
            "When the change under way is reported as stuck, as a Unix time; 0 without a change.",
        );
        let leads = Gauge::new("quorate_operator_leads", "1 while this process acts, else 0.");
        let leads = leads.expect("the name is valid");
        registry.register(Box::new(leads.clone())).expect("the name is used once");
        let options = HistogramOpts::new(
            "quorate_operator_round_seconds",
            "How long a round of work on a cluster takes.",
        );
        let round_seconds = Histogram::with_opts(options).expect("the name is valid");
        registry.register(Box::new(round_seconds.clone())).expect("the name is used once");
        Self { registry, rounds, round_seconds, steps, leads, available, can_lose, used, changes }
    }

    /// Counts a round of work.
    pub fn round(&self, result: &str, took: Duration) {
        self.rounds.with_label_values(&[result]).inc();
        self.round_seconds.observe(took.as_secs_f64());
    }

    /// Counts a step.
    pub fn step(&self, step: &str, is_done: bool) {
        self.steps.with_label_values(&[step, if is_done { "done" } else { "failed" }]).inc();
    }

    /// Tells whether this process acts.
    pub fn leads(&self, leads: bool) {
        self.leads.set(if leads { 1.0 } else { 0.0 });
    }

    /// Tells the state of a cluster.
    pub fn cluster(&self, key: &Key, status: &QuorateClusterStatus) {
        let labels = [key.namespace.as_str(), key.name.as_str()];
        let mut available = status.conditions.iter().filter(|one| one.type_ == "Available");
        let is_available = available.next().is_some_and(|one| one.status == "True");
        let set = |gauge: &GaugeVec, value: f64| gauge.with_label_values(&labels).set(value);
        set(&self.available, if is_available { 1.0 } else { 0.0 });
        set(&self.can_lose, f64::from(status.quorum.can_lose));
        set(&self.used, f64::from(status.used_percent));
        let deadline = status.change.as_ref().map(|change| change.deadline.0.as_duration());
        set(&self.changes, deadline.map_or(0.0, |deadline| deadline.as_secs_f64()));
    }

    /// Forgets a cluster that is gone.
    pub fn forget(&self, key: &Key) {
        let labels = [key.namespace.as_str(), key.name.as_str()];
        for gauge in [&self.available, &self.can_lose, &self.used, &self.changes] {
            // A cluster that was never seen has no values.
            drop(gauge.remove_label_values(&labels));
        }
    }

    /// All metrics as text.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = Vec::new();
        let encoded = TextEncoder::new().encode(&self.registry.gather(), &mut text);
        encoded.expect("memory takes what is written");
        String::from_utf8(text).expect("the encoder writes text")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_that_is_gone_is_forgotten() {
        let metrics = Metrics::new();
        let key = Key { namespace: "team".to_owned(), name: "main".to_owned() };
        metrics.forget(&key);
        metrics.cluster(&key, &QuorateClusterStatus::default());
        let line = "quorate_operator_cluster_available{cluster=\"main\",namespace=\"team\"} 0";
        assert!(metrics.text().contains(line), "{}", metrics.text());
        metrics.forget(&key);
        assert!(!metrics.text().contains("main"));
    }
}
