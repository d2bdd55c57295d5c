//! A client of a real API server.

use std::path::Path;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::PostParams;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::wait::{await_condition, conditions};
use kube::{Api, Client, Config};
use quorate_crd::definition::definitions;

/// A client of a new API server, which then has our kinds.
pub(super) async fn client(kubeconfig: &Path) -> Client {
    // Another test may have chosen it already.
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    let options = KubeConfigOptions::default();
    let config = Kubeconfig::read_from(kubeconfig).unwrap();
    let config = Config::from_custom_kubeconfig(config, &options).await.unwrap();
    let client = Client::try_from(config).unwrap();
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    for definition in definitions() {
        api.create(&PostParams::default(), &definition).await.unwrap();
        let name = definition.metadata.name.unwrap();
        let is_served = conditions::is_crd_established();
        await_condition(api.clone(), &name, is_served).await.unwrap();
    }
    client
}
