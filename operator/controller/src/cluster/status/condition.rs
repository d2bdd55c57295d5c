//! Conditions, and how they are written: the time of a condition is that of its last transition.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1 as meta;
use quorate_crd::v1alpha1::{ConditionType, Reason};

/// Whether a condition holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Truth {
    True,
    False,
    Unknown,
}

/// A condition as the present observation says it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Condition {
    pub(super) kind: ConditionType,
    pub(super) truth: Truth,
    pub(super) reason: Reason,
    pub(super) message: String,
}

impl Condition {
    pub(super) fn new(
        kind: ConditionType,
        truth: Truth,
        reason: Reason,
        message: impl Into<String>,
    ) -> Self {
        Self { kind, truth, reason, message: message.into() }
    }

    /// The spec cannot be followed.
    pub(super) fn invalid(reason: Reason, message: String) -> Self {
        Self::new(ConditionType::Valid, Truth::False, reason, message)
    }

    /// Whether a person should look.
    pub(super) fn is_trouble(&self) -> bool {
        match self.kind {
            ConditionType::Degraded => self.truth == Truth::True,
            ConditionType::Progressing => false,
            _ => self.truth == Truth::False,
        }
    }

    fn written(
        self,
        before: &[meta::Condition],
        generation: i64,
        now: Timestamp,
    ) -> meta::Condition {
        let type_ = format!("{:?}", self.kind);
        let status = format!("{:?}", self.truth);
        let last = before.iter().find(|last| last.type_ == type_ && last.status == status);
        let since = last.map_or(meta::Time(now), |last| last.last_transition_time.clone());
        meta::Condition {
            type_,
            status,
            reason: format!("{:?}", self.reason),
            message: self.message,
            last_transition_time: since,
            observed_generation: Some(generation),
        }
    }
}

/// Nothing is known of a cluster whose spec cannot be followed.
pub(super) fn unwatched() -> Condition {
    let message = "the operator does not look at the cluster while its spec cannot be followed";
    Condition::new(ConditionType::Available, Truth::Unknown, Reason::InvalidSpec, message)
}

/// All conditions as they are written.
pub(super) fn written(
    conditions: Vec<Condition>,
    before: &[meta::Condition],
    generation: i64,
    now: Timestamp,
) -> Vec<meta::Condition> {
    conditions.into_iter().map(|it| it.written(before, generation, now)).collect()
}

/// The conditions before, with one of them written anew.
pub(super) fn merged(
    condition: Condition,
    before: &[meta::Condition],
    generation: i64,
    now: Timestamp,
) -> Vec<meta::Condition> {
    let written = condition.written(before, generation, now);
    let mut conditions = before.to_vec();
    match conditions.iter_mut().find(|it| it.type_ == written.type_) {
        Some(place) => *place = written,
        None => conditions.push(written),
    }
    conditions
}
