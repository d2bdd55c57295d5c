//! The files that are generated from the resource definitions.

use crate::definition::definitions;

/// Where the definitions are: for installations by hand, and for the operator's chart, whose
/// template adds labels to them.
const FOLDERS: [&str; 2] = ["deploy/crds", "charts/quorate-operator/files/crds"];

/// The files by their path from the root of the repository.
///
/// # Panics
/// If a definition cannot be written as YAML, which the types exclude.
#[must_use]
pub fn files() -> Vec<(String, String)> {
    let mut files = Vec::new();
    for definition in definitions() {
        let yaml = serde_saphyr::to_string(&definition).expect("a definition can be written");
        let text = format!("# Written by crdgen of operator/crd.\n{yaml}");
        let name = &definition.spec.names.plural;
        files.extend(FOLDERS.map(|folder| (format!("{folder}/{name}.yaml"), text.clone())));
    }
    files
}
