//! Facts that are written in two places agree.

use std::fs;
use std::process::Command;

use quorate_test_charts::{Chart, Helm};
use quorate_test_support::control_plane::Said;
use quorate_test_support::{program, repository};

#[test]
fn charts_have_the_version_of_the_workspace() {
    for chart in [Chart::operator(), Chart::cluster()] {
        let metadata = chart.document("Chart.yaml");
        for field in ["version", "appVersion"] {
            assert_eq!(
                metadata[field],
                env!("CARGO_PKG_VERSION"),
                "{field} of {}",
                metadata["name"]
            );
        }
    }
}

#[test]
fn the_plain_manifest_is_what_the_chart_installs() {
    if Helm::find("the plain manifest").is_none() {
        return;
    }
    let folder = repository().join("deploy");
    let path = format!("{}:{}", program::cache().join("bin").display(), program::search_path());
    let mut script = Command::new("bash");
    let wanted = Said::by(script.arg(folder.join("generate.sh")).env("PATH", path), "");
    let manifest = fs::read_to_string(folder.join("operator.yaml")).expect("the manifest");
    assert!(
        manifest == wanted.expect("deploy/generate.sh"),
        "deploy/operator.yaml is not current: run deploy/generate.sh >deploy/operator.yaml"
    );
}
