//! The page and the metric of the certificates in use, by role.

use std::sync::Arc;
use std::time::Duration;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{GaugeVec, Opts};
use quorate_api::CertificatePage;
use rustls::ServerConfig;
use serde_json::{Map, Value, json};
use x509_parser::prelude::ASN1Time;

use crate::dial::Dialer;
use crate::listen::Certificates;
use crate::logging::RateLimit;
use crate::tls::{Material, Shown, Tls};

/// Shortest time between two rereads on demand: any program that reaches the page can ask for them.
const REREAD_PAUSE: Duration = Duration::from_secs(1);

/// The certificates of this member, by role.
pub(crate) struct TlsPage {
    ports: Certificates,
    dialer: Dialer,
    rereads: RateLimit,
}

impl TlsPage {
    /// The page of the certificates of these ports and this dialer.
    pub(crate) fn new(ports: Certificates, dialer: Dialer) -> Self {
        Self { ports, dialer, rereads: RateLimit::new(REREAD_PAUSE) }
    }

    fn roles(&self, rereads: bool) -> impl Iterator<Item = (&'static str, Material)> {
        let port = |tls: &Option<Arc<Tls<ServerConfig>>>| Some(tls.as_ref()?.material(rereads));
        let roles = [
            ("client-server", port(&self.ports.clients)),
            ("peer-server", port(&self.ports.peers)),
            ("peer-client", self.dialer.material(rereads)),
        ];
        roles.into_iter().filter_map(|(role, material)| Some((role, material?)))
    }

    fn page(&self, rereads: bool) -> String {
        let roles = self.roles(rereads).map(|(role, material)| {
            let Material { leaf, trust, problem } = material;
            let trust: Vec<Value> = trust.iter().map(describe).collect();
            let leaf = leaf.as_ref().map(describe);
            (role.to_owned(), json!({ "leaf": leaf, "trust": trust, "problem": problem }))
        });
        Value::Object(roles.collect::<Map<_, _>>()).to_string()
    }
}

impl CertificatePage for TlsPage {
    fn current(&self) -> String {
        self.page(false)
    }

    fn reread(&self) -> Option<String> {
        self.rereads.allows()?;
        Some(self.page(true))
    }
}

fn describe(certificate: &Shown) -> Value {
    let Shown { fingerprint, subject, not_after } = certificate;
    json!({ "fingerprint": fingerprint, "subject": subject, "notAfter": time(*not_after) })
}

/// A time in RFC 3339's form.
fn time(seconds: i64) -> Option<String> {
    let time = ASN1Time::from_timestamp(seconds).ok()?.to_datetime();
    let date = time.date();
    let (hour, minute, second) = time.to_hms();
    Some(format!("{date}T{hour:02}:{minute:02}:{second:02}Z"))
}

/// The metric of the certificates in use.
pub(crate) struct TlsMetrics {
    page: Arc<TlsPage>,
    /// Without series: it only describes the metric.
    described: GaugeVec,
}

fn gauges() -> GaugeVec {
    let opts = Opts::new(
        "quorate_tls_not_after_seconds",
        "End of the validity of a certificate in use, in seconds since the Unix epoch.",
    );
    GaugeVec::new(opts, &["role", "use", "fingerprint"]).expect("constants make gauges")
}

impl TlsMetrics {
    /// The metric of the certificates of this page.
    pub(crate) fn new(page: Arc<TlsPage>) -> Self {
        Self { page, described: gauges() }
    }
}

impl Collector for TlsMetrics {
    fn desc(&self) -> Vec<&Desc> {
        self.described.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        // New gauges for each scrape: a replaced certificate has no series any more.
        let gauges = gauges();
        for (role, material) in self.page.roles(false) {
            let leaf = material.leaf.iter().map(|leaf| ("leaf", leaf));
            let trust = material.trust.iter().map(|trusted| ("trust", trusted));
            for (used_as, Shown { fingerprint, not_after, .. }) in leaf.chain(trust) {
                let gauge = gauges.with_label_values(&[role, used_as, fingerprint.as_str()]);
                gauge.set(seconds(*not_after));
            }
        }
        gauges.collect()
    }
}

#[expect(clippy::cast_precision_loss, reason = "no certificate is valid for 2^53 seconds")]
fn seconds(time: i64) -> f64 {
    time as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_the_form_of_rfc_3339() {
        assert_eq!(time(951_782_399).as_deref(), Some("2000-02-28T23:59:59Z"));
        assert_eq!(time(253_402_300_799).as_deref(), Some("9999-12-31T23:59:59Z"));
        assert_eq!(time(i64::MAX), None);
    }
}
