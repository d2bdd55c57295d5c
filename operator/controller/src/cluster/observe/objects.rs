//! The objects of a cluster, as the API server has them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{Node, PersistentVolumeClaim, Pod, Secret, Service};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::ListParams;
use kube::core::PartialObjectMeta;
use kube::{Api, Client, Resource, ResourceExt as _};
use quorate_crd::names::{self, LABEL_CLUSTER};
use quorate_crd::v1alpha1::{QuorateCluster, QuorateMember};
use serde::de::DeserializeOwned;

use super::super::build;
use crate::error::{Error, is_not_found};

/// The objects of a cluster. Those of an earlier cluster of the same name are left out.
#[derive(Clone, Debug, Default)]
pub struct Objects {
    /// The members by name.
    pub members: BTreeMap<String, QuorateMember>,
    /// The pods by member.
    pub pods: BTreeMap<String, Pod>,
    /// The volume claims by member.
    pub volumes: BTreeMap<String, PersistentVolumeClaim>,
    /// The metadata of the Secrets by name.
    pub secrets: BTreeMap<String, ObjectMeta>,
    /// The Services by name.
    pub services: BTreeMap<String, Service>,
    /// The NetworkPolicy.
    pub policy: Option<NetworkPolicy>,
    /// The disruption budget.
    pub budget: Option<PodDisruptionBudget>,
    /// The nodes of pods that are gone, or that do not answer Kubernetes.
    pub lost_nodes: BTreeSet<String>,
    /// The names of all members, and of the members that the claims are for. Those of an earlier
    /// cluster are included.
    pub names: BTreeSet<String>,
}

impl Objects {
    /// Reads the objects of a cluster.
    pub(super) async fn read(client: &Client, cluster: &QuorateCluster) -> Result<Self, Error> {
        let reader = Reader { client, cluster };
        let (members, pods, claims, secrets) = tokio::try_join!(
            reader.list::<QuorateMember>(),
            reader.list::<Pod>(),
            reader.list::<PersistentVolumeClaim>(),
            reader.list::<PartialObjectMeta<Secret>>(),
        )?;
        let (services, policies, budgets) = tokio::try_join!(
            reader.list::<Service>(),
            reader.list::<NetworkPolicy>(),
            reader.list::<PodDisruptionBudget>(),
        )?;
        let name = cluster.name_any();
        let uid = cluster.uid().unwrap_or_default();
        let mut objects = Self::default();
        let claimed = |claim: &PersistentVolumeClaim| {
            claim.name_any().strip_prefix(&names::volume("")).map(str::to_owned)
        };
        objects.names.extend(members.iter().map(|member| member.name_any()));
        objects.names.extend(claims.iter().filter_map(claimed));
        objects.members = by_name(members.into_iter().filter(|member| is_owned(member, [&uid])));
        let owners: Vec<String> = objects.members.values().filter_map(|m| m.uid()).collect();
        objects.pods = by_name(pods.into_iter().filter(|pod| is_owned(pod, &owners)));
        let owners: Vec<String> = owners.into_iter().chain([uid]).collect();
        let owners = &owners;
        let secrets = secrets.into_iter().filter(|secret| is_owned(secret, owners));
        objects.secrets = secrets.map(|secret| (secret.name_any(), secret.metadata)).collect();
        objects.services =
            by_name(services.into_iter().filter(|service| is_owned(service, owners)));
        let mut policies = policies.into_iter().filter(|policy| is_owned(policy, owners));
        objects.policy = policies.find(|policy| policy.name_any() == name);
        let mut budgets = budgets.into_iter().filter(|budget| is_owned(budget, owners));
        objects.budget = budgets.find(|budget| budget.name_any() == name);
        let claims = claims.into_iter().filter(|claim| build::volume::is_of(cluster, claim));
        objects.volumes = claims.filter_map(|claim| Some((claimed(&claim)?, claim))).collect();
        objects.lost_nodes = reader.lost_nodes(objects.pods.values()).await?;
        Ok(objects)
    }
}

fn by_name<K: Resource>(objects: impl Iterator<Item = K>) -> BTreeMap<String, K> {
    objects.map(|object| (object.name_any(), object)).collect()
}

/// Whether an object belongs to one of the owners with these uids.
fn is_owned<'a>(object: &impl Resource, uids: impl IntoIterator<Item = &'a String>) -> bool {
    let owners = object.owner_references();
    uids.into_iter().any(|uid| owners.iter().any(|owner| owner.uid == *uid))
}

struct Reader<'a> {
    client: &'a Client,
    cluster: &'a QuorateCluster,
}

impl Reader<'_> {
    async fn list<K>(&self) -> Result<Vec<K>, Error>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
        K: Clone + Debug + DeserializeOwned,
    {
        let namespace = self.cluster.namespace().unwrap_or_default();
        let label = format!("{LABEL_CLUSTER}={}", self.cluster.name_any());
        let api = Api::<K>::namespaced(self.client.clone(), &namespace);
        let list = api.list(&ListParams::default().labels(&label)).await;
        let doing = || format!("list the {} of {label}", K::plural(&()));
        Ok(list.map_err(|error| Error::kubernetes(doing())(error))?.items)
    }

    /// The lost nodes of pods that do not run as they should. The nodes of other pods are not
    /// looked at.
    async fn lost_nodes(
        &self,
        pods: impl Iterator<Item = &Pod>,
    ) -> Result<BTreeSet<String>, Error> {
        let suspects = pods
            .filter(|pod| pod.metadata.deletion_timestamp.is_some() || !super::pod::is_ready(pod));
        let names: BTreeSet<String> =
            suspects.filter_map(|pod| pod.spec.as_ref()?.node_name.clone()).collect();
        let nodes = Api::<Node>::all(self.client.clone());
        let mut lost = BTreeSet::new();
        for name in names {
            let is_lost = match nodes.get(&name).await {
                Ok(node) => !is_node_ready(&node),
                Err(error) if is_not_found(&error) => true,
                Err(error) => {
                    return Err(Error::kubernetes(format!("get the node {name}"))(error));
                }
            };
            if is_lost {
                lost.insert(name);
            }
        }
        Ok(lost)
    }
}

fn is_node_ready(node: &Node) -> bool {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.into_iter().flatten().any(|c| c.type_ == "Ready" && c.status == "True")
}
