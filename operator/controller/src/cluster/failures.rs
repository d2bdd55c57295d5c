//! The failures of the present round.

use super::step::Step;

/// The failures of the present round, each with its reason. Steps that no other step depends on are
/// passed over: a Secret that is refused, say by a quota of the namespace, must not stop repairs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Failures {
    /// The certificates.
    pub certificates: Option<String>,
    /// The disruption budget.
    pub budget: Option<String>,
    /// The shared objects.
    pub objects: Option<String>,
    /// The growth of volumes.
    pub volumes: Option<String>,
    /// A step on which all others wait.
    pub step: Option<String>,
}

impl Failures {
    /// Records why a step failed. Returns whether the round can go on without it.
    pub fn add(&mut self, step: &Step, why: String) -> bool {
        let place = match step {
            Step::IssueCertificates => &mut self.certificates,
            Step::LimitDisruption { .. } => &mut self.budget,
            Step::ApplyObjects => &mut self.objects,
            Step::GrowVolume { .. } => &mut self.volumes,
            _ => {
                self.step = Some(why);
                return false;
            }
        };
        // A step that is planned a second time cannot be passed over.
        place.replace(why).is_none()
    }

    /// All failures in words; none if nothing failed.
    #[must_use]
    pub fn text(&self) -> Option<String> {
        let all = [&self.step, &self.certificates, &self.budget, &self.objects, &self.volumes];
        let all: Vec<&str> = all.into_iter().flatten().map(String::as_str).collect();
        (!all.is_empty()).then(|| all.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_goes_on_without_what_others_do_not_depend_on() {
        let mut failures = Failures::default();
        assert_eq!(failures.text(), None);
        assert!(failures.add(&Step::IssueCertificates, "no Secret".to_owned()));
        assert!(failures.add(&Step::ApplyObjects, "no Service".to_owned()));
        assert_eq!(failures.text().as_deref(), Some("no Secret; no Service"));
        assert!(!failures.add(&Step::ApplyObjects, "no Service".to_owned()));
        assert!(!failures.add(&Step::End, "no status".to_owned()));
        assert_eq!(failures.text().as_deref(), Some("no status; no Secret; no Service"));
    }
}
