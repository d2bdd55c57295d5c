//! The Secrets of a cluster: their list, their validity and their content.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt as _;
use quorate_crd::names;
use quorate_crd::v1alpha1::QuorateCluster;

use super::{AUTHORITY_LIFETIME, Authority, Error, Issued, Leaf};
use crate::cluster::build::{self, Owner, files};
use crate::members::{Identity, Key};

/// Annotation: when the certificates of a Secret expire.
const ANNOTATION_EXPIRES: &str = "quorate.dev/expires";
/// Annotation of Secrets: when their certificates are renewed. Annotation of pods: a copy of the
/// annotation of their Secret. A change of the copy makes the kubelet look at the Secret at once,
/// and not only within a minute or two.
pub const ANNOTATION_RENEWED: &str = "quorate.dev/renewed-after";
/// Annotation: the hash of the purpose of a Secret.
const ANNOTATION_PURPOSE: &str = "quorate.dev/purpose";

/// The names of a certificate and its key in a Secret of type `kubernetes.io/tls`.
const TLS_CERTIFICATE: &str = "tls.crt";
const TLS_KEY: &str = "tls.key";
/// The name of the authority's certificate, as other programs expect it.
const CA_CERTIFICATE: &str = "ca.crt";
/// The file names of kubeadm for its client certificate of an external store.
const KUBEADM_CERTIFICATE: &str = "apiserver-etcd-client.crt";
const KUBEADM_KEY: &str = "apiserver-etcd-client.key";

/// A Secret that a cluster must have.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Wanted {
    /// Its name.
    pub name: String,
    /// Its purpose.
    pub purpose: Purpose,
}

/// The purpose of a Secret.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Purpose {
    /// An authority, with its common name.
    Authority(String),
    /// A member: its certificates for clients and for members.
    Member {
        /// The member.
        member: String,
        /// The certificate for clients.
        client: Leaf,
        /// The certificate for members.
        peer: Leaf,
    },
    /// A client of the user, or the operator itself.
    Client(Leaf),
}

/// When certificates expire, and when they are renewed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Validity {
    /// When they expire.
    pub expires: Timestamp,
    /// When they are renewed.
    pub renewed: Timestamp,
}

impl Validity {
    /// When they were issued. They are renewed after two thirds of their life.
    #[must_use]
    pub fn issued(&self) -> Timestamp {
        self.expires - self.expires.duration_since(self.renewed) * 3
    }
}

/// The Secrets that a cluster with these members must have, the authorities first.
#[must_use]
pub fn wanted<'a>(
    cluster: &QuorateCluster,
    domain: &str,
    members: impl IntoIterator<Item = &'a str>,
) -> Vec<Wanted> {
    let name = cluster.name_any();
    let lifetime = cluster.spec.tls.lifetime.duration().unwrap_or(Duration::from_secs(90 * 86400));
    let leaf = |common_name: &str, names: Vec<String>| Leaf {
        common_name: common_name.to_owned(),
        names,
        lifetime,
    };
    let of = |name: String, purpose: Purpose| Wanted { name, purpose };
    let authority = |whom: &str| Purpose::Authority(format!("{whom} of {}", build::token(cluster)));
    let mut wanted = vec![
        of(names::client_ca(&name), authority("clients")),
        of(names::peer_ca(&name), authority("members")),
        of(names::operator_client(&name), Purpose::Client(leaf(names::MANAGER, Vec::new()))),
    ];
    for client in &cluster.spec.clients {
        let user = client.user.as_ref().unwrap_or(&client.name);
        let name = names::client_secret(&name, &client.name);
        wanted.push(of(name, Purpose::Client(leaf(user, Vec::new()))));
    }
    let uid = cluster.uid().unwrap_or_default();
    for member in members {
        let purpose = Purpose::Member {
            member: member.to_owned(),
            client: leaf(member, client_names(cluster, domain, member)),
            peer: leaf(&uid, member_names(cluster, domain, member)),
        };
        wanted.push(of(member.to_owned(), purpose));
    }
    wanted
}

/// The names by which other members reach a member.
fn member_names(cluster: &QuorateCluster, domain: &str, member: &str) -> Vec<String> {
    let host = build::host(cluster, member);
    vec![format!("{host}.{domain}"), host]
}

/// The names by which clients reach a member.
fn client_names(cluster: &QuorateCluster, domain: &str, member: &str) -> Vec<String> {
    let service = names::client_service(&cluster.name_any());
    let namespace = cluster.namespace().unwrap_or_default();
    let mut names = vec![
        service.clone(),
        format!("{service}.{namespace}"),
        format!("{service}.{namespace}.svc"),
        format!("{service}.{namespace}.svc.{domain}"),
    ];
    names.extend(member_names(cluster, domain, member));
    names.extend(["localhost", "127.0.0.1", "::1"].map(str::to_owned));
    let extra = cluster.spec.tls.extra_names.iter();
    let mut seen: BTreeSet<String> = names.iter().cloned().collect();
    names.extend(extra.filter(|name| seen.insert((*name).clone())).cloned());
    names
}

impl Purpose {
    fn hash(&self) -> String {
        build::hash(&format!("{self:?}"))
    }
}

impl Wanted {
    /// Whether the certificates in a Secret have another purpose, or must be renewed by now.
    #[must_use]
    pub fn is_stale(&self, secret: &ObjectMeta, now: Timestamp) -> bool {
        let annotation = |name| secret.annotations.as_ref()?.get(name);
        let is_for_this = annotation(ANNOTATION_PURPOSE) == Some(&self.purpose.hash());
        // The authorities are never renewed in place: every client would have to follow at once.
        if matches!(self.purpose, Purpose::Authority(_)) {
            return false;
        }
        !is_for_this || validity(secret).is_none_or(|validity| validity.renewed <= now)
    }

    fn metadata(&self, cluster: &QuorateCluster, owner: Owner<'_>, now: Timestamp) -> ObjectMeta {
        let lifetime = match &self.purpose {
            Purpose::Authority(_) => AUTHORITY_LIFETIME,
            Purpose::Member { client: leaf, .. } | Purpose::Client(leaf) => leaf.lifetime,
        };
        let mut metadata = build::metadata(cluster, self.name.clone(), owner);
        if let Purpose::Member { member, .. } = &self.purpose {
            metadata.labels.get_or_insert_default().extend(build::member_labels(member));
        }
        let annotations = [
            (ANNOTATION_EXPIRES, (now + lifetime).to_string()),
            (ANNOTATION_RENEWED, (now + lifetime * 2 / 3).to_string()),
            (ANNOTATION_PURPOSE, self.purpose.hash()),
        ];
        metadata.annotations =
            Some(annotations.map(|(name, value)| (name.to_owned(), value)).into());
        metadata
    }
}

/// When the certificates of a Secret expire and are renewed, as recorded when they were issued.
#[must_use]
pub fn validity(secret: &ObjectMeta) -> Option<Validity> {
    let annotations = secret.annotations.as_ref()?;
    let time = |name| annotations.get(name)?.parse::<Timestamp>().ok();
    Some(Validity { expires: time(ANNOTATION_EXPIRES)?, renewed: time(ANNOTATION_RENEWED)? })
}

/// Whether a pod was shown the certificates of its Secret.
#[must_use]
pub fn is_shown(pod: &ObjectMeta, secret: &ObjectMeta) -> bool {
    let renewed = |metadata: &ObjectMeta| {
        let annotations = metadata.annotations.as_ref();
        annotations.and_then(|all| all.get(ANNOTATION_RENEWED)).cloned()
    };
    renewed(pod) == renewed(secret)
}

/// The Secret of a new authority.
///
/// # Errors
/// The authority could not be made.
pub fn filled_authority(
    cluster: &QuorateCluster,
    wanted: &Wanted,
    common_name: &str,
    now: Timestamp,
) -> Result<Secret, Error> {
    let Authority { certificate, key } = Authority::generate(common_name, now)?;
    let parts = [(TLS_CERTIFICATE, certificate.clone()), (TLS_KEY, key.0)];
    let parts = parts.into_iter().chain([(CA_CERTIFICATE, certificate)]);
    Ok(secret("kubernetes.io/tls", wanted.metadata(cluster, Owner::Cluster(cluster), now), parts))
}

/// The Secret of a member or a client, with new certificates.
///
/// # Errors
/// A certificate could not be issued.
pub fn filled(
    cluster: &QuorateCluster,
    wanted: &Wanted,
    owner: Owner<'_>,
    (clients, peers): (&Authority, &Authority),
    now: Timestamp,
) -> Result<Option<Secret>, Error> {
    let metadata = wanted.metadata(cluster, owner, now);
    match &wanted.purpose {
        Purpose::Authority(_) => Ok(None),
        Purpose::Member { client, peer, .. } => {
            let Issued { certificate, key } = clients.issue(client, now)?;
            let peer = peers.issue(peer, now)?;
            let parts = [
                (files::CLIENT_CERTIFICATE, certificate),
                (files::CLIENT_KEY, key.0),
                (files::CLIENT_AUTHORITY, clients.certificate.clone()),
                (files::PEER_CERTIFICATE, peer.certificate),
                (files::PEER_KEY, peer.key.0),
                (files::PEER_AUTHORITY, peers.certificate.clone()),
            ];
            Ok(Some(secret("Opaque", metadata, parts)))
        }
        Purpose::Client(leaf) => {
            let Issued { certificate, key } = clients.issue(leaf, now)?;
            let parts = [
                (TLS_CERTIFICATE, certificate.clone()),
                (TLS_KEY, key.0.clone()),
                (CA_CERTIFICATE, clients.certificate.clone()),
                (KUBEADM_CERTIFICATE, certificate),
                (KUBEADM_KEY, key.0),
            ];
            Ok(Some(secret("kubernetes.io/tls", metadata, parts)))
        }
    }
}

fn secret(
    kind: &str,
    metadata: ObjectMeta,
    parts: impl IntoIterator<Item = (&'static str, String)>,
) -> Secret {
    let data: BTreeMap<_, _> = parts
        .into_iter()
        .map(|(name, text)| (name.to_owned(), ByteString(text.into_bytes())))
        .collect();
    Secret { metadata, type_: Some(kind.to_owned()), data: Some(data), ..Secret::default() }
}

fn part(secret: &Secret, key: &'static str) -> Result<String, Error> {
    let part = secret.data.as_ref().and_then(|data| data.get(key));
    let text = part.and_then(|part| String::from_utf8(part.0.clone()).ok());
    text.ok_or_else(|| Error::Incomplete { secret: secret.name_any(), key })
}

impl TryFrom<&Secret> for Authority {
    type Error = Error;

    fn try_from(secret: &Secret) -> Result<Self, Error> {
        let key = Key(part(secret, TLS_KEY)?);
        Ok(Self { certificate: part(secret, TLS_CERTIFICATE)?, key })
    }
}

/// The operator's identity, of its Secret.
///
/// # Errors
/// The Secret lacks a part, or one cannot be read.
pub fn identity(secret: &Secret) -> Result<Identity, Error> {
    for key in [CA_CERTIFICATE, TLS_CERTIFICATE] {
        if !part(secret, key)?.contains("-----BEGIN CERTIFICATE-----") {
            return Err(Error::Incomplete { secret: secret.name_any(), key });
        }
    }
    rcgen::KeyPair::from_pem(&part(secret, TLS_KEY)?)?;
    Ok(Identity {
        authority: part(secret, CA_CERTIFICATE)?,
        certificate: part(secret, TLS_CERTIFICATE)?,
        key: Key(part(secret, TLS_KEY)?),
    })
}

#[cfg(test)]
mod tests;
