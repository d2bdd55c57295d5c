//! A chart of this repository.

use std::fs;
use std::path::{Path, PathBuf};

use quorate_test_support::repository;
use serde_json::Value;

use crate::yaml;

/// The beginning of the first line of values that helm must refuse; the text of the refusal
/// follows.
const REFUSED: &str = "# refused: ";

/// A chart of this repository.
#[derive(Clone, Debug)]
pub struct Chart {
    folder: PathBuf,
}

/// A set of values in a chart's folder `ci`.
#[derive(Clone, Debug)]
pub struct ValueSet {
    /// The file.
    pub path: PathBuf,
    /// The text with which helm must refuse the values; `None` if it must accept them.
    pub refusal: Option<String>,
}

impl Chart {
    /// The chart of the operator.
    #[must_use]
    pub fn operator() -> Self {
        Self { folder: repository().join("charts/quorate-operator") }
    }

    /// The chart of one cluster.
    #[must_use]
    pub fn cluster() -> Self {
        Self { folder: repository().join("charts/quorate-cluster") }
    }

    /// Its folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A text of the chart.
    ///
    /// # Panics
    /// If there is no such file.
    #[must_use]
    pub fn text(&self, name: &str) -> String {
        let path = self.folder.join(name);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// A file of the chart with one YAML or JSON document.
    ///
    /// # Panics
    /// If there is no such file, or another number of documents in it.
    #[must_use]
    pub fn document(&self, name: &str) -> Value {
        let mut documents = yaml::documents(&self.text(name));
        assert_eq!(documents.len(), 1, "documents in {name}");
        documents.remove(0)
    }

    /// A set of values by its name.
    #[must_use]
    pub fn values(&self, name: &str) -> PathBuf {
        self.folder.join(format!("ci/{name}-values.yaml"))
    }

    /// All sets of values.
    ///
    /// # Panics
    /// If they cannot be read.
    #[must_use]
    pub fn value_sets(&self) -> Vec<ValueSet> {
        let entries = fs::read_dir(self.folder.join("ci")).expect("the chart has sets of values");
        let mut paths: Vec<PathBuf> =
            entries.map(|entry| entry.expect("the folder can be read").path()).collect();
        paths.sort();
        let set = |path: PathBuf| {
            let text = fs::read_to_string(&path).expect("the file can be read");
            let first = text.lines().next().unwrap_or_default();
            ValueSet { refusal: first.strip_prefix(REFUSED).map(str::to_owned), path }
        };
        paths.into_iter().map(set).collect()
    }
}
