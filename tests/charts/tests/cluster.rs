//! The objects that the chart of a cluster makes of its values.

use std::{env, fs};

use quorate_test_charts::yaml::{filled, of_kind};
use quorate_test_charts::{Chart, Helm, schema, yaml};
use quorate_test_support::repository;
use serde_json::{Value, json};

fn definition() -> Value {
    let path = repository().join("deploy/crds/quorateclusters.yaml");
    yaml::documents(&fs::read_to_string(path).expect("the definition")).remove(0)
}

/// The schema of the chart's values is that of the resource's spec. `UPDATE_GOLDENFILES=1` writes
/// it.
#[test]
fn the_schema_is_that_of_the_resource() {
    let mut wanted = schema::strict(&schema::of_spec(&definition()));
    wanted["$schema"] = json!("http://json-schema.org/draft-07/schema#");
    wanted["title"] = json!("Values of the chart quorate-cluster");
    wanted["properties"]["global"] = json!({ "type": "object" });
    wanted["properties"]["test"] = json!({
        "type": "object",
        "additionalProperties": false,
        "properties": { "image": { "type": "string" } },
    });
    let members = wanted["properties"]["members"].take();
    wanted["properties"]["members"] = json!({ "anyOf": [{ "const": "" }, members] });
    let chart = Chart::cluster();
    if env::var_os("UPDATE_GOLDENFILES").is_some() {
        let text = format!("{wanted:#}\n");
        fs::write(chart.folder().join("values.schema.json"), text).expect("the file is written");
    }
    let schema = chart.document("values.schema.json");
    assert_eq!(schema, wanted, "run this test with UPDATE_GOLDENFILES=1");
}

#[test]
fn defaults_are_those_of_the_resource() {
    let mut values = Chart::cluster().document("values.yaml");
    values.as_object_mut().expect("values").remove("test");
    // Left to the resource, so that `kubectl scale` and Helm do not contend.
    assert_eq!(values["members"].take(), "");
    values["members"] = json!(3);
    let defaults = schema::default_of(&schema::of_spec(&definition()));
    assert_eq!(filled(&values), filled(&defaults));
}

#[test]
fn values_become_the_spec() {
    let Some(helm) = Helm::find("the cluster's chart") else { return };
    let chart = Chart::cluster();
    let path = chart.values("full");
    let objects = helm.objects(&chart, Some(&path));
    let text = fs::read_to_string(&path).expect("the values");
    let mut values = yaml::documents(&text).remove(0);
    values.as_object_mut().expect("values").remove("test");
    assert_eq!(of_kind(&objects, "QuorateCluster")[0]["spec"], values);
}

#[test]
fn empty_values_are_left_out_but_empty_limits_are_kept() {
    let Some(helm) = Helm::find("the cluster's chart") else { return };
    let chart = Chart::cluster();
    let folder = chart.folder().display().to_string();
    let limitless = ["template", "main", &folder, "--set", "resources.limits.memory=null"];
    let objects = yaml::documents(&helm.run(&limitless).expect("helm template"));
    let spec = &of_kind(&objects, "QuorateCluster")[0]["spec"];
    assert_eq!(spec["resources"]["limits"], json!({}));
    for absent in ["version", "image", "settings", "clients", "pod"] {
        assert_eq!(spec[absent], Value::Null, "{absent}");
    }
    assert!(of_kind(&objects, "Pod").is_empty(), "a test without a client");
}
