//! The facts about a volume that its claim tells.

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::ResourceExt as _;
use quorate_crd::names::ANNOTATION_KEPT;
use quorate_crd::quantity;

use super::super::observed::Volume;

/// The facts about a volume that its claim tells.
pub(super) fn volume(claim: &PersistentVolumeClaim) -> Volume {
    let spec = claim.spec.clone().unwrap_or_default();
    let status = claim.status.clone().unwrap_or_default();
    let requests = spec.resources.and_then(|resources| resources.requests);
    let asked = requests.as_ref().and_then(|requests| requests.get("storage"));
    let size = status.capacity.as_ref().and_then(|capacity| capacity.get("storage"));
    let mut conditions = status.conditions.iter().flatten();
    Volume {
        asked: asked.and_then(bytes).unwrap_or(0),
        size: size.and_then(bytes),
        needs_restart: conditions
            .any(|one| one.type_ == "FileSystemResizePending" && one.status == "True"),
        is_lost: status.phase.as_deref() == Some("Lost"),
        is_deleted: claim.metadata.deletion_timestamp.is_some(),
        is_kept: claim.annotations().contains_key(ANNOTATION_KEPT),
    }
}

/// The bytes of an amount that Kubernetes has written: it drops fractions where it can.
fn bytes(amount: &Quantity) -> Option<u64> {
    quantity::Quantity(amount.0.clone()).bytes().ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_claim_tells_its_size_and_that_of_its_volume() {
        let claim = json!({
            "metadata": { "annotations": { ANNOTATION_KEPT: "disk lost" } },
            "spec": { "resources": { "requests": { "storage": "2Gi" } } },
            "status": { "phase": "Bound", "capacity": { "storage": "3Gi" }, "conditions": [
                { "type": "FileSystemResizePending", "status": "True" } ] },
        });
        let volume = volume(&serde_json::from_value(claim).unwrap());
        let expected = Volume {
            asked: 2 << 30,
            size: Some(3 << 30),
            needs_restart: true,
            is_kept: true,
            ..Volume::default()
        };
        assert_eq!(volume, expected);
    }
}
