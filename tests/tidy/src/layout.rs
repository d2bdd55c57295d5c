//! Rules for the places of files.

use std::collections::BTreeSet;

use crate::Repository;

/// The allowed entries of the top level, besides dotfiles.
const TOP_LEVEL: [&str; 9] = [
    "Cargo.toml",
    "Cargo.lock",
    "README.md",
    "server",
    "operator",
    "proto",
    "deploy",
    "charts",
    "tests",
];

/// Entries of the top level that are not allowed, and Rust files that no module declares.
pub fn broken(repository: &Repository) -> Vec<String> {
    let mut broken = Vec::new();
    let top: BTreeSet<&str> =
        repository.files.keys().filter_map(|path| path.split('/').next()).collect();
    for entry in top {
        if !entry.starts_with('.') && !TOP_LEVEL.contains(&entry) {
            broken.push(format!("{entry}: does not belong on the top level"));
        }
    }
    for (path, _) in repository.with_extension(".rs") {
        if !is_reached(repository, path) {
            broken.push(format!("{path}: no module names this file"));
        }
    }
    broken
}

/// Whether cargo finds the file as a target, or its parent module declares it.
fn is_reached(repository: &Repository, path: &str) -> bool {
    let Some((folder, file)) = path.rsplit_once('/') else { return false };
    let name = file.trim_end_matches(".rs");
    let roots = ["lib", "main", "build"];
    if roots.contains(&name) || is_target_folder(repository, folder) {
        return true;
    }
    let parents = [
        format!("{folder}.rs"),
        format!("{folder}/lib.rs"),
        format!("{folder}/main.rs"),
        format!("{folder}/mod.rs"),
    ];
    parents.iter().filter_map(|parent| repository.files.get(parent)).any(|text| {
        let declared = format!("mod {name};");
        text.lines().any(|line| line.trim_end().ends_with(&declared))
    })
}

/// Whether every file of the folder is a cargo target.
fn is_target_folder(repository: &Repository, folder: &str) -> bool {
    ["/tests", "/benches", "/examples", "/src/bin"].iter().any(|suffix| {
        let krate = folder.strip_suffix(suffix);
        krate.is_some_and(|krate| repository.files.contains_key(&format!("{krate}/Cargo.toml")))
    })
}
