//! node-agent NODE FOLDER: the volumes of one node's pods, on disks that can be full and can grow.
//!
//! It runs in the node's own mount namespace, and knows the API server from `$KUBECONFIG`. For each
//! claim of the storage class `disk` that the scheduler has given to NODE it makes a [`disk`] in
//! FOLDER and a local PersistentVolume. It enlarges both when the claim asks for more; the kubelet
//! then tells the claim. When a volume is released, it removes both.
//!
//! The agent derives everything again from the API server whenever a claim or a volume changes, so
//! it can be killed at any moment.

#![forbid(unsafe_code)]

mod disk;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use disk::Disk;
use futures_util::{StreamExt as _, stream};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client, ResourceExt as _};
use quorate_crd::quantity::Quantity;
use serde_json::json;

/// The storage class of the volumes.
const CLASS: &str = "disk";
/// The scheduler's annotation of a claim: the node of the pod that waits for it.
const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
/// Label of volumes: their node.
const LABEL_NODE: &str = "e2e.quorate.dev/node";
/// How long to wait after a failure.
const RETRY: Duration = Duration::from_millis(500);

/// The agent of one node.
struct Agent {
    node: String,
    folder: PathBuf,
    claims: Api<PersistentVolumeClaim>,
    volumes: Api<PersistentVolume>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let (Some(node), Some(folder)) = (args.next(), args.next()) else {
        anyhow::bail!("usage: node-agent NODE FOLDER");
    };
    let client = Client::try_default().await?;
    let claims = Api::<PersistentVolumeClaim>::all(client.clone());
    let volumes = Api::<PersistentVolume>::all(client);
    let agent = Agent { node, folder: folder.into(), claims, volumes };
    let claims = watcher(agent.claims.clone(), watcher::Config::default()).default_backoff();
    let volumes = watcher(agent.volumes.clone(), watcher::Config::default()).default_backoff();
    let mut changes = stream::select(claims.map(|_| ()).boxed(), volumes.map(|_| ()).boxed());
    while changes.next().await.is_some() {
        while let Err(error) = agent.follow().await {
            println!("{error:#}");
            tokio::time::sleep(RETRY).await;
        }
    }
    Ok(())
}

impl Agent {
    /// Makes the disks and volumes of this node as the claims want them.
    async fn follow(&self) -> anyhow::Result<()> {
        let claims = self.claims.list(&ListParams::default()).await?.items;
        let here = ListParams::default().labels(&format!("{LABEL_NODE}={}", self.node));
        let volumes = self.volumes.list(&here).await?.items;
        for volume in &volumes {
            self.follow_claim(volume, &claims).await.context(volume.name_any())?;
        }
        for claim in &claims {
            let name = volume_of(claim);
            if self.waits_here(claim) && !volumes.iter().any(|volume| volume.name_any() == name) {
                self.provide(&name, claim).await.context(name)?;
            }
        }
        Ok(())
    }

    /// Whether a pod of this node waits for the claim's first volume.
    fn waits_here(&self, claim: &PersistentVolumeClaim) -> bool {
        let spec = claim.spec.clone().unwrap_or_default();
        spec.storage_class_name.as_deref() == Some(CLASS)
            && spec.volume_name.is_none()
            && claim.metadata.deletion_timestamp.is_none()
            && claim.annotations().get(SELECTED_NODE) == Some(&self.node)
    }

    async fn provide(&self, name: &str, claim: &PersistentVolumeClaim) -> anyhow::Result<()> {
        let asked = asked(claim).context("a claim without a size")?;
        let disk = Disk::new(&self.folder, name);
        disk.make(asked.bytes()?)?;
        let volume = serde_json::from_value(json!({
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {
                "name": name,
                "labels": { LABEL_NODE: self.node },
                // Without it Kubernetes tries to delete a released volume itself, and cannot.
                "annotations": { "pv.kubernetes.io/provisioned-by": "e2e.quorate.dev/node-agent" },
            },
            "spec": {
                "capacity": { "storage": asked },
                "accessModes": ["ReadWriteOnce"],
                "persistentVolumeReclaimPolicy": "Delete",
                "storageClassName": CLASS,
                "claimRef": {
                    "apiVersion": "v1",
                    "kind": "PersistentVolumeClaim",
                    "namespace": claim.metadata.namespace,
                    "name": claim.metadata.name,
                    "uid": claim.metadata.uid,
                },
                "local": { "path": disk.volume() },
                "nodeAffinity": { "required": { "nodeSelectorTerms": [{ "matchExpressions": [
                    { "key": "kubernetes.io/hostname", "operator": "In", "values": [self.node] },
                ] }] } },
            },
        }))?;
        self.volumes.create(&PostParams::default(), &volume).await?;
        println!("{name}: made with {asked}");
        Ok(())
    }

    /// Mounts, enlarges or removes a volume that exists.
    async fn follow_claim(
        &self,
        volume: &PersistentVolume,
        claims: &[PersistentVolumeClaim],
    ) -> anyhow::Result<()> {
        let name = volume.name_any();
        let disk = Disk::new(&self.folder, &name);
        let phase = volume.status.as_ref().and_then(|status| status.phase.as_deref());
        if phase == Some("Released") {
            disk.remove()?;
            self.volumes.delete(&name, &DeleteParams::default()).await?;
            println!("{name}: removed");
            return Ok(());
        }
        disk.mount()?;
        let capacity = volume.spec.as_ref().and_then(|spec| spec.capacity.as_ref());
        let has = capacity.and_then(|capacity| capacity.get("storage")).context("no capacity")?;
        let claim = claims.iter().find(|claim| volume_of(claim) == name);
        let Some(asked) = claim.and_then(asked) else { return Ok(()) };
        if asked.bytes()? > Quantity(has.0.clone()).bytes()? {
            disk.grow(asked.bytes()?)?;
            let capacity = json!({ "spec": { "capacity": { "storage": asked } } });
            let patch = Patch::Merge(capacity);
            self.volumes.patch(&name, &PatchParams::default(), &patch).await?;
            println!("{name}: enlarged to {asked}");
        }
        Ok(())
    }
}

/// The name of the volume that is made for a claim.
fn volume_of(claim: &PersistentVolumeClaim) -> String {
    format!("pvc-{}", claim.uid().unwrap_or_default())
}

/// The size that a claim asks for.
fn asked(claim: &PersistentVolumeClaim) -> Option<Quantity> {
    let requests = claim.spec.as_ref()?.resources.as_ref()?.requests.as_ref()?;
    Some(Quantity(requests.get("storage")?.0.clone()))
}
