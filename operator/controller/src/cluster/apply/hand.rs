//! Requests that change objects. Each one first asks whether this process may act.

use std::fmt::Debug;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, Resource, ResourceExt as _};
use quorate_crd::names::MANAGER;
use quorate_crd::v1alpha1::QuorateMember;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::super::observe::Seen;
use crate::context::Context;
use crate::error::{Error, is_not_found};

/// The means of a step.
#[derive(Clone, Copy)]
pub(super) struct Hand<'a> {
    pub(super) context: &'a Context,
    pub(super) seen: &'a Seen,
}

/// An object that can be changed. It has a namespace, and its kind is known at compile time.
pub(super) trait Object:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Clone
    + Debug
    + DeserializeOwned
    + Serialize
{
}

impl<K> Object for K where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned
        + Serialize
{
}

fn doing<K: Object>(verb: &str, name: &str) -> String {
    format!("{verb} the {} {name}", K::kind(&()))
}

impl<'a> Hand<'a> {
    pub(super) fn api<K: Object>(&self) -> Api<K> {
        let namespace = self.seen.cluster.namespace().unwrap_or_default();
        Api::namespaced(self.context.client.clone(), &namespace)
    }

    /// Creates an object. One that is there already is left alone.
    ///
    /// # Errors
    /// The object is there already, or the request fails.
    pub(super) async fn create<K: Object>(&self, object: &K) -> Result<(), Error> {
        self.context.gate.check()?;
        let parameters = PostParams { field_manager: Some(MANAGER.to_owned()), dry_run: false };
        let created = self.api::<K>().create(&parameters, object).await;
        created.map_err(Error::kubernetes(doing::<K>("create", &object.name_any())))?;
        Ok(())
    }

    /// Creates an object, or makes the observed one as it should be. An object of the same name
    /// that is not the cluster's is left alone.
    pub(super) async fn apply<K: Object>(&self, object: &K, is_there: bool) -> Result<(), Error> {
        if !is_there {
            return self.create(object).await;
        }
        self.context.gate.check()?;
        let name = object.name_any();
        let parameters = PatchParams::apply(MANAGER).force();
        let applied = self.api::<K>().patch(&name, &parameters, &Patch::Apply(object)).await;
        applied.map_err(Error::kubernetes(doing::<K>("apply", &name)))?;
        Ok(())
    }

    /// Changes parts of an object, and not of another one of the same name.
    pub(super) async fn patch<K: Object>(
        &self,
        object: &K,
        mut change: Value,
    ) -> Result<(), Error> {
        self.context.gate.check()?;
        let name = object.name_any();
        change["metadata"]["uid"] = json!(object.uid());
        let parameters =
            PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        let patched = self.api::<K>().patch(&name, &parameters, &Patch::Merge(change)).await;
        patched.map_err(Error::kubernetes(doing::<K>("change", &name)))?;
        Ok(())
    }

    /// Deletes an object, and not another one of the same name.
    pub(super) async fn delete<K: Object>(&self, object: &K) -> Result<(), Error> {
        let parameters = DeleteParams::background();
        self.delete_with::<K>(&object.name_any(), object.uid(), parameters).await
    }

    /// Deletes the object with this uid, with these parameters.
    pub(super) async fn delete_with<K: Object>(
        &self,
        name: &str,
        uid: Option<String>,
        parameters: DeleteParams,
    ) -> Result<(), Error> {
        self.context.gate.check()?;
        let parameters = parameters.preconditions(Preconditions { uid, resource_version: None });
        match self.api::<K>().delete(name, &parameters).await {
            Err(error) if !is_not_found(&error) => {
                Err(Error::kubernetes(doing::<K>("delete", name))(error))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn member(&self, name: &str) -> Result<&'a QuorateMember, Error> {
        let member = self.seen.objects.members.get(name);
        member.ok_or_else(|| Error::Missing(format!("the record of {name}")))
    }

    pub(super) fn pod(&self, member: &str) -> Result<&'a Pod, Error> {
        let pod = self.seen.objects.pods.get(member);
        pod.ok_or_else(|| Error::Missing(format!("the pod of {member}")))
    }

    pub(super) fn volume(&self, member: &str) -> Result<&'a PersistentVolumeClaim, Error> {
        let volume = self.seen.objects.volumes.get(member);
        volume.ok_or_else(|| Error::Missing(format!("the volume claim of {member}")))
    }
}
