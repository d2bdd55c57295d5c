//! The spec, checked and completed.
//!
//! The API server checks each field when it is written. This module makes the checks that the API
//! server cannot make. It also repeats checks of the API server, because an object may be older
//! than these checks.

mod refusal;
mod version;

use jiff::SignedDuration;
use quorate_crd::duration::Span;
use quorate_crd::names;
use quorate_crd::v1alpha1::QuorateCluster;

pub use refusal::Refusal;
pub use version::{NotAVersion, Version};

/// The numbers of members that a cluster may have.
const SIZES: [i32; 4] = [1, 3, 5, 7];

/// The spec of a user, checked and completed.
#[derive(Clone, Debug, PartialEq)]
pub struct Valid {
    /// The name of the cluster.
    pub name: String,
    /// The namespace of the cluster.
    pub namespace: String,
    /// The uid of the cluster's object. An earlier cluster of the same name has another uid.
    pub uid: String,
    /// The generation of the spec.
    pub generation: i64,
    /// How many members vote.
    pub members: usize,
    /// The version of the members.
    pub version: Version,
    /// The version of the operator.
    pub operator: Version,
    /// The size of each volume, in bytes.
    pub volume_bytes: u64,
    /// How long a member may be unreachable before it is replaced.
    pub replace_after: SignedDuration,
    /// How long a change may take before it is reported as stuck.
    pub progress_deadline: SignedDuration,
    /// How long certificates are valid.
    pub certificate_lifetime: SignedDuration,
    /// Whether all members are to be stopped.
    pub is_hibernated: bool,
    /// Whether the operator is paused for this cluster.
    pub is_paused: bool,
}

impl Valid {
    /// The token of the store's cluster. No other cluster ever has it.
    #[must_use]
    pub fn token(&self) -> String {
        format!("{}-{}-{}", self.namespace, self.name, self.uid)
    }

    /// The name of the member with this number.
    #[must_use]
    pub fn member(&self, number: i64) -> String {
        names::member(&self.name, number)
    }

    /// The URL at which a member answers other members.
    #[must_use]
    pub fn peer_url(&self, member: &str) -> String {
        names::peer_url(&self.name, member, &self.namespace)
    }

    /// Whether the version asked for is newer than the operator by more than one minor version.
    /// Members of such a version may need something that this operator cannot provide.
    #[must_use]
    pub fn is_too_new(&self) -> bool {
        !self.version.is_reached_from(&self.operator) && self.version > self.operator
    }

    /// The number in the name of a member; `None` if no member of this cluster can have that name.
    #[must_use]
    pub fn number(&self, member: &str) -> Option<i64> {
        let digits = member.strip_prefix(&self.name)?.strip_prefix('-')?;
        let number = digits.parse().ok().filter(|number| *number > 0)?;
        (self.member(number) == member).then_some(number)
    }
}

/// Checks and completes a spec. `operator` is the version of the operator, and the default for the
/// version of the members.
///
/// # Errors
/// All reasons why the spec cannot be followed.
pub fn validate(cluster: &QuorateCluster, operator: &str) -> Result<Valid, Vec<Refusal>> {
    let spec = &cluster.spec;
    let mut refusals = Vec::new();
    let mut span = |field, span: &Span| match span.duration().map(SignedDuration::try_from) {
        Ok(Ok(span)) => span,
        _ => {
            refusals.push(Refusal::Span { field, text: span.0.clone() });
            SignedDuration::ZERO
        }
    };
    let replace_after = span("repair.replaceAfter", &spec.repair.replace_after);
    let progress_deadline = span("progressDeadline", &spec.progress_deadline);
    let certificate_lifetime = span("tls.lifetime", &spec.tls.lifetime);
    if !SIZES.contains(&spec.members) {
        refusals.push(Refusal::Members(spec.members));
    }
    let volume_bytes = spec.storage.size.bytes().unwrap_or_else(|error| {
        refusals.push(Refusal::Size(error.0));
        0
    });
    let mut version = |text: &str| {
        text.parse::<Version>().unwrap_or_else(|error| {
            refusals.push(Refusal::Version(error.0));
            Version::default()
        })
    };
    let version_asked = version(spec.version.as_deref().unwrap_or(operator));
    let operator = version(operator);
    let metadata = &cluster.metadata;
    let text = |part: &Option<String>| part.clone().unwrap_or_default();
    let valid = Valid {
        name: text(&metadata.name),
        namespace: text(&metadata.namespace),
        uid: text(&metadata.uid),
        generation: metadata.generation.unwrap_or_default(),
        members: usize::try_from(spec.members).unwrap_or_default(),
        version: version_asked,
        operator,
        volume_bytes,
        replace_after,
        progress_deadline,
        certificate_lifetime,
        is_hibernated: spec.hibernated,
        is_paused: spec.paused,
    };
    if [&valid.name, &valid.namespace, &valid.uid].iter().any(|part| part.is_empty()) {
        refusals.push(Refusal::Identity);
    }
    if refusals.is_empty() { Ok(valid) } else { Err(refusals) }
}

#[cfg(test)]
mod tests;
