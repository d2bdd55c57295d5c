//! The program helm.

use std::path::Path;
use std::process::Command;

use quorate_test_support::control_plane::{ControlPlane, Said};
use quorate_test_support::program;
use quorate_test_support::require::{self, Need};
use serde_json::Value;
use tempfile::TempDir;

use crate::{Chart, yaml};

/// The namespace of the rendered objects.
pub const NAMESPACE: &str = "stores";

/// Helm, with settings and caches of its own.
pub struct Helm {
    home: TempDir,
}

impl Helm {
    /// Builds helm if that is needed. `None` if it cannot be built here, which is reported as a
    /// skip of `suite`.
    ///
    /// # Panics
    /// If the build fails, or if it cannot be built here and `QUORATE_REQUIRE=all` is set.
    pub fn find(suite: &str) -> Option<Self> {
        if !require::met(suite, &[Need::Program("go"), Need::Program("bash")]) {
            return None;
        }
        program::run_script("tests/e2e/kubernetes/build.sh", &["helm"]);
        Some(Self { home: tempfile::tempdir().expect("a folder") })
    }

    /// Runs helm without a Kubernetes cluster.
    pub fn run(&self, args: &[&str]) -> Said {
        Said::by(self.command().args(args).env_remove("KUBECONFIG"), "")
    }

    /// Runs helm as an administrator of a Kubernetes cluster.
    pub fn run_on(&self, plane: &ControlPlane, args: &[&str]) -> Said {
        Said::by(plane.as_admin(&mut self.command()).args(args), "")
    }

    /// Renders the chart as the release `main`, with a file of values or with the defaults alone.
    pub fn template(&self, chart: &Chart, values: Option<&Path>) -> Said {
        let folder = chart.folder().display().to_string();
        let mut args = vec!["template", "main", &folder, "--namespace", NAMESPACE];
        let values = values.map(|path| path.display().to_string());
        if let Some(values) = &values {
            args.extend(["--values", values]);
        }
        self.run(&args)
    }

    /// The objects of the chart rendered as the release `main`.
    ///
    /// # Panics
    /// If it is refused.
    #[track_caller]
    pub fn objects(&self, chart: &Chart, values: Option<&Path>) -> Vec<Value> {
        yaml::documents(&self.template(chart, values).expect("helm template"))
    }

    fn command(&self) -> Command {
        let mut helm = Command::new(program::cache().join("bin/helm"));
        for kind in ["CACHE", "CONFIG", "DATA"] {
            helm.env(format!("HELM_{kind}_HOME"), self.home.path().join(kind));
        }
        helm
    }
}
