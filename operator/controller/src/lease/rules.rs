//! When a process may take the Lease.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;

use super::holder;

/// The decision of a process that does not hold the Lease.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Decision {
    /// Creates it.
    Create,
    /// Takes it.
    Take,
    /// Waits.
    Wait,
}

/// Decides for a process that does not hold the Lease. `unchanged` is how long the process has seen
/// the Lease as it is. `duration` is the duration of a Lease that names none.
pub(super) fn decide(
    lease: Option<&Lease>,
    me: &str,
    unchanged: Duration,
    duration: Duration,
) -> Decision {
    let Some(lease) = lease else { return Decision::Create };
    // The Lease names this process: a request to take the Lease was done, and its answer was lost.
    if holder(lease).is_none_or(|holder| holder == me) {
        return Decision::Take;
    }
    let seconds = lease.spec.as_ref().and_then(|spec| spec.lease_duration_seconds);
    let seconds = seconds.and_then(|seconds| u64::try_from(seconds).ok());
    let duration = seconds.map_or(duration, Duration::from_secs);
    if unchanged >= duration { Decision::Take } else { Decision::Wait }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::coordination::v1::LeaseSpec;

    use super::*;

    #[test]
    fn a_lease_passes_on_only_after_its_duration() {
        let lease = |holder: &str, seconds| Lease {
            spec: Some(LeaseSpec {
                holder_identity: Some(holder.to_owned()),
                lease_duration_seconds: seconds,
                ..LeaseSpec::default()
            }),
            ..Lease::default()
        };
        let decide = |lease: Option<&Lease>, unchanged| {
            let seconds = Duration::from_secs;
            super::decide(lease, "me", seconds(unchanged), seconds(15))
        };
        assert_eq!(decide(None, 0), Decision::Create);
        assert_eq!(decide(Some(&lease("", Some(15))), 0), Decision::Take);
        assert_eq!(decide(Some(&lease("me", Some(15))), 0), Decision::Take);
        assert_eq!(decide(Some(&lease("other", Some(15))), 14), Decision::Wait);
        assert_eq!(decide(Some(&lease("other", Some(15))), 15), Decision::Take);
        assert_eq!(decide(Some(&lease("other", Some(60))), 15), Decision::Wait);
        assert_eq!(decide(Some(&lease("other", None)), 14), Decision::Wait);
        assert_eq!(decide(Some(&lease("other", None)), 15), Decision::Take);
    }
}
