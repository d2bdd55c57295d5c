//! Rules for the documentation: the files and the names that it gives exist.

use std::collections::BTreeSet;

use crate::Repository;

/// Where paths in the documentation start: at the root, or in the folder of the server's crates.
const STARTS: [&str; 2] = ["", "server/"];
/// The documentation: the start, the map, and the folder of the pages behind it.
const DOCUMENTATION: [&str; 5] = [
    "README.md",
    "operator/ARCHITECTURE.md",
    "server/ARCHITECTURE.md",
    "server/COMPATIBILITY.md",
    "server/docs/",
];

/// The keywords before a name where it is defined.
const DEFINITIONS: [&str; 8] =
    ["fn ", "struct ", "enum ", "trait ", "const ", "static ", "type ", "mod "];

/// Wrong code spans and links. A code span is wrong if it is the path of no file or folder, if it
/// gives a name that the file does not define, or if it does not end. A link is wrong if its file
/// does not exist.
///
/// A code span is a path if it ends in `.rs`, or if it contains a `/` and starts with a folder at
/// the root or of the server. `path.rs::Type::name` gives names that the file defines.
pub fn broken(repository: &Repository) -> Vec<String> {
    let folders = folders(repository);
    let mut broken = Vec::new();
    for (path, text) in repository.with_extension(".md") {
        if !DOCUMENTATION.iter().any(|start| path.starts_with(start)) {
            continue;
        }
        for (number, line) in prose(text) {
            if line.matches('`').count() % 2 == 1 {
                broken.push(format!("{path}:{number}: a code span does not end on its line"));
            }
            let spans = line.split('`').skip(1).step_by(2);
            let wrong = spans.filter_map(|span| Some((span, check(repository, &folders, span)?)));
            broken.extend(wrong.map(|(span, why)| format!("{path}:{number}: {span}: {why}")));
            let links =
                links(line).filter(|link| !leads_somewhere(repository, &folders, path, link));
            broken.extend(links.map(|link| format!("{path}:{number}: {link}: no such file")));
        }
    }
    broken
}

/// All folders with a file in them, without a `/` at their ends.
fn folders(repository: &Repository) -> BTreeSet<&str> {
    repository
        .files
        .keys()
        .flat_map(|path| path.match_indices('/').map(|(at, _)| &path[..at]))
        .collect()
}

/// The numbered lines outside code blocks.
fn prose(markdown: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut in_code = false;
    (1..).zip(markdown.lines()).filter(move |(_, line)| {
        let is_fence = line.trim_start().starts_with("```");
        in_code ^= is_fence;
        !in_code && !is_fence
    })
}

/// Why a code span is wrong; `None` if it is right or no path.
fn check(repository: &Repository, folders: &BTreeSet<&str>, span: &str) -> Option<&'static str> {
    let (path, names) = span.split_once("::").unwrap_or((span, ""));
    let is_rust = path.strip_suffix(".rs").is_some_and(|stem| !stem.is_empty());
    let is_path = path.split_once('/').is_some_and(|(first, _)| {
        STARTS.iter().any(|start| folders.contains(format!("{start}{first}").as_str()))
    });
    let has_spaces = path.contains(char::is_whitespace);
    if has_spaces || !(is_rust || is_path) {
        return None;
    }
    let mut places = STARTS.iter().map(|start| format!("{start}{}", path.trim_end_matches('/')));
    let Some(place) = places
        .find(|place| repository.files.contains_key(place) || folders.contains(place.as_str()))
    else {
        return Some("no such file");
    };
    let text = repository.files.get(&place).map_or("", String::as_str);
    let mut names = names.split("::").filter(|name| !name.is_empty());
    names.any(|name| !defines(text, name)).then_some("no such name in this file")
}

/// Whether the text of a Rust file defines the name.
fn defines(text: &str, name: &str) -> bool {
    DEFINITIONS.iter().any(|keyword| {
        let definition = format!("{keyword}{name}");
        text.match_indices(&definition).any(|(at, found)| {
            let next = text[at + found.len()..].chars().next();
            !next.is_some_and(|c| c.is_alphanumeric() || c == '_')
        })
    })
}

/// The targets of a line's links to files, without the parts behind `#`.
fn links(line: &str) -> impl Iterator<Item = &str> {
    let targets = line.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let files = targets.filter_map(|target| target.split('#').next());
    files.filter(|target| !target.is_empty() && !target.contains("://"))
}

/// Whether a link of the file at `path` leads to a file or folder of the repository.
fn leads_somewhere(
    repository: &Repository,
    folders: &BTreeSet<&str>,
    path: &str,
    link: &str,
) -> bool {
    let mut place: Vec<&str> = path.split('/').collect();
    place.pop();
    for step in link.split('/') {
        if step == ".." {
            place.pop();
        } else {
            place.push(step);
        }
    }
    let place = place.join("/");
    repository.files.contains_key(&place) || folders.contains(place.as_str())
}
