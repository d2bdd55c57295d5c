//! Whether members use the certificates that their Secrets hold, and which authorities are lost.
//!
//! A renewed certificate reaches a member in three steps: the operator writes the Secret, the
//! kubelet writes the file, and the member reads the file for its next connection. The member tells
//! which certificates it uses.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{Api, ResourceExt as _};
use quorate_crd::names;
use quorate_crd::v1alpha1::QuorateCluster;

use super::super::observed::Observed;
use super::Objects;
use crate::certificates::{self, Authority};
use crate::context::Context;
use crate::error::Error;
use crate::members::Certificates;

/// How long the kubelet may take to write a renewed file. Then the member is asked to read it.
const PROPAGATION: SignedDuration = SignedDuration::from_mins(1);
/// How long a member may take to use a renewed certificate. Then a person is told.
const PATIENCE: SignedDuration = SignedDuration::from_mins(3);
/// For short-lived certificates the time is shorter: the rest of their life after the renewal,
/// divided by these numbers.
const PROPAGATION_PARTS: i32 = 4;
const PATIENCE_PARTS: i32 = 2;

/// Whether a member is to be asked to read its files again.
pub(super) fn must_ask(secret: &ObjectMeta, used: &Certificates, now: Timestamp) -> bool {
    is_late(secret, used, now, (PROPAGATION, PROPAGATION_PARTS))
}

/// Why a member does not use its renewed certificates, once it should.
pub(super) fn fault(secret: &ObjectMeta, used: &Certificates, now: Timestamp) -> Option<String> {
    let is_late = is_late(secret, used, now, (PATIENCE, PATIENCE_PARTS));
    is_late.then(|| used.problem.clone().unwrap_or_else(|| "its files are the earlier ones".into()))
}

/// Whether a member uses other certificates than those of its Secret, some time after their issue.
fn is_late(
    secret: &ObjectMeta,
    used: &Certificates,
    now: Timestamp,
    (span, parts): (SignedDuration, i32),
) -> bool {
    let Some(validity) = certificates::validity(secret) else { return false };
    // Certificates have whole seconds. Those of a Secret are issued at the same moment.
    let mut expire = used.expire.iter();
    let differs = expire.any(|at| at.as_second() != validity.expires.as_second());
    let left = validity.expires.duration_since(validity.renewed);
    let late_at = validity.issued().checked_add(span.min(left / parts));
    differs && late_at.is_ok_and(|late_at| late_at <= now)
}

/// The Secrets of authorities that a founded cluster has lost. Their parts are read only if there
/// is something to issue.
pub(super) async fn lost_authorities(
    context: &Context,
    cluster: &QuorateCluster,
    objects: &Objects,
    observed: &Observed,
) -> Result<BTreeSet<String>, Error> {
    let mut lost = BTreeSet::new();
    if observed.status.cluster_id.is_none() {
        return Ok(lost);
    }
    let name = cluster.name_any();
    let namespace = cluster.namespace().unwrap_or_default();
    let secrets = Api::<Secret>::namespaced(context.client.clone(), &namespace);
    for name in [names::client_ca(&name), names::peer_ca(&name)] {
        if !objects.secrets.contains_key(&name) {
            lost.insert(name);
        } else if !observed.stale_certificates.is_empty() {
            let secret = secrets.get_opt(&name).await;
            let secret = secret.map_err(Error::kubernetes(format!("get the Secret {name}")))?;
            if !secret.is_some_and(|secret| is_usable(&secret)) {
                lost.insert(name);
            }
        }
    }
    Ok(lost)
}

fn is_usable(secret: &Secret) -> bool {
    Authority::try_from(secret).is_ok_and(|authority| authority.is_usable())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use k8s_openapi::ByteString;
    use quorate_crd::duration::Span;
    use quorate_crd::v1alpha1::QuorateClusterSpec;

    use super::*;
    use crate::certificates::Purpose;
    use crate::cluster::build::Owner;

    fn start() -> Timestamp {
        Timestamp::from_second(1_800_000_000).unwrap()
    }

    /// The Secret of a member whose certificates have this lifetime, and the certificates that a
    /// member with this Secret shows.
    fn renewed(lifetime: &str) -> (ObjectMeta, Certificates) {
        let mut spec = QuorateClusterSpec::default();
        spec.tls.lifetime = Span::from(lifetime);
        let cluster = QuorateCluster::new("main", spec);
        let wanted = certificates::wanted(&cluster, "cluster.local", ["main-1"]);
        let authority = Authority::generate("all", start()).unwrap();
        let wanted = wanted.last().unwrap();
        let owner = Owner::Cluster(&cluster);
        // Within a second: the annotation is more exact than the certificate.
        let now = start() + Duration::from_millis(700);
        let filled = certificates::filled(&cluster, wanted, owner, (&authority, &authority), now);
        let Purpose::Member { client, .. } = &wanted.purpose else { panic!("{wanted:?}") };
        let expires = start() + client.lifetime;
        let used = Certificates { expire: vec![expires; 3], problem: None };
        (filled.unwrap().unwrap().metadata, used)
    }

    #[test]
    fn a_member_with_earlier_certificates_is_asked_and_then_told_of() {
        for (lifetime, asked, told) in [("2160h", 60, 180), ("2m", 10, 20)] {
            let (secret, used) = renewed(lifetime);
            let at = |seconds| start() + Duration::from_secs(seconds);
            let mut earlier = used.clone();
            earlier.expire[1] -= Duration::from_secs(3600);
            assert!(!must_ask(&secret, &earlier, at(asked)), "{lifetime}");
            assert!(must_ask(&secret, &earlier, at(asked + 1)), "{lifetime}");
            assert_eq!(fault(&secret, &earlier, at(told)), None, "{lifetime}");
            let fault = |used: &Certificates| fault(&secret, used, at(told + 1));
            assert_eq!(fault(&earlier).as_deref(), Some("its files are the earlier ones"));
            earlier.problem = Some("client.key: not a key".to_owned());
            assert_eq!(fault(&earlier).as_deref(), Some("client.key: not a key"));
            // A member that uses them, and a member that tells nothing.
            for good in [used, Certificates::default()] {
                assert!(!must_ask(&secret, &good, at(told + 1)), "{lifetime}");
                assert_eq!(fault(&good), None, "{lifetime}");
            }
        }
    }

    #[test]
    fn an_authority_without_its_key_is_lost() {
        let one = Authority::generate("one", start()).unwrap();
        let secret = |parts: &[(&str, &str)]| {
            let part = |(name, text): &(&str, &str)| {
                ((*name).to_owned(), ByteString(text.as_bytes().to_vec()))
            };
            let data = parts.iter().map(part).collect();
            Secret { data: Some(data), ..Secret::default() }
        };
        let certificate = ("tls.crt", one.certificate.as_str());
        assert!(is_usable(&secret(&[certificate, ("tls.key", &one.key.0)])));
        assert!(!is_usable(&secret(&[certificate])));
        assert!(!is_usable(&secret(&[certificate, ("tls.key", "")])));
    }
}
