//! Rules for texts of every kind.

use crate::Repository;

/// Files that tools generate; the rules skip their contents.
const GENERATED: [&str; 3] = ["Cargo.lock", "go.sum", "package-lock.json"];

/// Marks of unfinished work.
fn unfinished() -> [String; 4] {
    // Joined from parts, so that this file does not violate its own rule.
    [["TO", "DO"], ["FIX", "ME"], ["XX", "X"], ["db", "g!("]].map(|parts| parts.concat())
}

/// Names of the machines and registries where the repository was written.
fn foreign() -> [String; 7] {
    let parts = [
        ["/wo", "rk/"],
        ["/ro", "ot/"],
        ["/ho", "me/"],
        ["crates", ".io"],
        ["proxy.go", "lang.org"],
        ["arti", "factory"],
        ["docker", ".io"],
    ];
    parts.map(|parts| parts.concat())
}

/// Unfinished work, names of machines and registries, trailing blanks, and Markdown files without
/// exactly one first-level heading.
pub fn broken(repository: &Repository) -> Vec<String> {
    let unfinished = unfinished();
    let foreign = foreign();
    let mut broken = Vec::new();
    for (path, text) in &repository.files {
        if GENERATED.iter().any(|name| path.ends_with(name)) {
            continue;
        }
        for (number, line) in (1..).zip(text.lines()) {
            for mark in &unfinished {
                if line.contains(mark) {
                    broken.push(format!("{path}:{number}: {mark}"));
                }
            }
            for name in &foreign {
                if line.contains(name) {
                    broken.push(format!("{path}:{number}: names {name}"));
                }
            }
            if line.ends_with([' ', '\t']) && !path.contains("/scripts/") {
                broken.push(format!("{path}:{number}: blanks at the end of the line"));
            }
        }
    }
    for (path, text) in repository.with_extension(".md") {
        let headings = first_level_headings(text);
        if headings != 1 {
            broken.push(format!("{path}: {headings} first-level headings instead of one"));
        }
    }
    broken
}

fn first_level_headings(markdown: &str) -> usize {
    let mut in_code = false;
    let mut headings = 0;
    for line in markdown.lines() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        }
        headings += usize::from(!in_code && line.starts_with("# "));
    }
    headings
}
