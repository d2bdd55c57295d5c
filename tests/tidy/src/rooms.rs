//! Arrows between the files of a crate: they form no circle, and run only between rooms for which
//! an arrow is drawn.
//!
//! A room is a file at the top of a crate's `src`, with the folder of its name. A file imports
//! another one when it names something in it, its tests apart. A name that a module only hands on
//! (`pub use`) is in the file that it comes from.

use std::collections::{BTreeMap, BTreeSet};

use syn::visit::{self, Visit};

use crate::Repository;

/// Where the server's crates are.
const SERVER: &str = "server/";

/// Circles that there are. The first is meant: each of the two is the other's part. The others are
/// to go; none may be added.
const CIRCLES: [&[&str]; 7] = [
    &["core/src/mvcc/merge.rs", "core/src/mvcc/stack.rs"],
    &[
        "node/src/bootstrap.rs",
        "node/src/bootstrap/ask.rs",
        "node/src/bootstrap/founders.rs",
        "node/src/bootstrap/registry.rs",
        "node/src/bootstrap/registry/roll.rs",
        "node/src/bootstrap/srv.rs",
    ],
    &["node/src/config.rs", "node/src/config/cluster.rs", "node/src/config/security.rs"],
    &["storage/src/base/engine.rs", "storage/src/base/worker.rs"],
    &["storage/src/base/image.rs", "storage/src/base/snapshot.rs"],
    &["storage/src/data_dir.rs", "storage/src/wal.rs", "storage/src/wal/writer.rs"],
    &["storage/src/sync.rs", "storage/src/wal/preparation.rs", "storage/src/wal/segment.rs"],
];

/// Rooms of a crate, and of which others each may know. A room that is not here may not exist: a
/// new one, and a new arrow, is a decision.
struct Plan {
    src: &'static str,
    rooms: &'static [(&'static str, &'static [&'static str])],
}

const PLANS: [Plan; 1] = [Plan {
    src: "server/raft/src/",
    rooms: &[
        ("ground", &[]),
        ("budget", &[]),
        ("metrics", &["ground"]),
        ("log", &["ground"]),
        ("disk", &["ground", "log"]),
        ("network", &["budget", "ground", "log", "metrics"]),
        ("read", &["ground", "metrics"]),
        ("leader", &["disk", "ground", "metrics", "network", "read"]),
        ("consensus", &["disk", "ground", "leader", "log", "metrics", "network"]),
        ("membership", &["consensus", "ground", "metrics"]),
        (
            "port",
            &[
                "budget",
                "consensus",
                "disk",
                "ground",
                "leader",
                "log",
                "membership",
                "metrics",
                "network",
            ],
        ),
        (
            "member",
            &[
                "budget",
                "consensus",
                "disk",
                "ground",
                "leader",
                "log",
                "membership",
                "metrics",
                "network",
                "port",
                "read",
            ],
        ),
    ],
}];

/// A clock that no test can hold, and the crate that must not know it.
const CLOCK: (&str, [&str; 3]) = ("server/raft/src/", ["std", "time", "Instant"]);

/// Files that import each other in a circle, rooms that no plan names, and arrows that no plan has.
pub fn broken(repository: &Repository) -> Vec<String> {
    let mut broken = Vec::new();
    let mut known = CIRCLES.to_vec();
    for (src, files) in crates(repository) {
        let arrows = arrows(&src, &files);
        for circle in circles(&arrows) {
            let names = circle.iter().map(|path| &path[SERVER.len()..]);
            match known.iter().position(|known| known.iter().copied().eq(names.clone())) {
                Some(at) => drop(known.remove(at)),
                None => broken.push(format!("{}: imports run in a circle", circle.join(", "))),
            }
        }
        if src == CLOCK.0 {
            check_clock(&files, &mut broken);
        }
        if let Some(plan) = PLANS.iter().find(|plan| plan.src == src) {
            check_rooms(plan, files.keys().copied(), &arrows, &mut broken);
        }
    }
    let gone = known.into_iter().map(|circle| format!("{}: no circle any more", circle.join(", ")));
    broken.extend(gone);
    broken
}

/// The files of each crate of the server, by the folder of its source; those of tests apart.
fn crates(repository: &Repository) -> BTreeMap<String, BTreeMap<&str, &str>> {
    let mut crates: BTreeMap<String, BTreeMap<&str, &str>> = BTreeMap::new();
    for (path, text) in repository.with_extension(".rs") {
        let is_test = path.ends_with("/tests.rs") || path.contains("/tests/");
        if let Some(at) = path.find("/src/").filter(|_| path.starts_with(SERVER) && !is_test) {
            crates.entry(path[..at + "/src/".len()].to_owned()).or_default().insert(path, text);
        }
    }
    crates
}

/// Which files each file imports.
type Arrows<'a> = BTreeMap<&'a str, BTreeSet<&'a str>>;

/// A module by the names that lead to it.
type Module = Vec<String>;

fn module_of(src: &str, path: &str) -> Module {
    let inside = path[src.len()..].trim_end_matches(".rs");
    let names = inside.split('/').filter(|name| !["lib", "main", "mod"].contains(name));
    names.map(str::to_owned).collect()
}

fn arrows<'a>(src: &str, files: &BTreeMap<&'a str, &'a str>) -> Arrows<'a> {
    let parsed = files.iter().filter_map(|(path, text)| Some((*path, syn::parse_file(text).ok()?)));
    let parsed: BTreeMap<&'a str, syn::File> = parsed.collect();
    let modules = files.keys().map(|path| (module_of(src, path), *path)).collect();
    let mut map = Map { modules, handed_on: BTreeMap::new() };
    for (path, file) in &parsed {
        for (name, from) in handed_on(file) {
            map.handed_on.insert((module_of(src, path), name), from);
        }
    }
    let mut arrows = Arrows::new();
    for (path, file) in &parsed {
        let mut imports = Imports { here: module_of(src, path), map: &map, found: vec![] };
        imports.visit_file(file);
        let found = imports.found.into_iter().filter(|to| to != path).collect();
        arrows.insert(path, found);
    }
    arrows
}

/// The names that a file hands on, each with where it has it from.
fn handed_on(file: &syn::File) -> Vec<(String, Module)> {
    let mut found = Vec::new();
    for item in &file.items {
        if let syn::Item::Use(item) = item
            && !matches!(item.vis, syn::Visibility::Inherited)
        {
            let mut paths = Vec::new();
            unfold(&mut Vec::new(), &item.tree, &mut paths);
            let named = paths.into_iter().filter_map(|path| Some((path.last()?.clone(), path)));
            found.extend(named);
        }
    }
    found
}

/// The paths of a `use`, one by one.
fn unfold(before: &mut Module, tree: &syn::UseTree, paths: &mut Vec<Module>) {
    let depth = before.len();
    match tree {
        syn::UseTree::Path(path) => {
            before.push(path.ident.to_string());
            unfold(before, &path.tree, paths);
        }
        syn::UseTree::Name(syn::UseName { ident })
        | syn::UseTree::Rename(syn::UseRename { ident, .. }) => {
            if ident != "self" {
                before.push(ident.to_string());
            }
            paths.push(before.clone());
        }
        syn::UseTree::Glob(_) => paths.push(before.clone()),
        syn::UseTree::Group(group) => {
            group.items.iter().for_each(|tree| unfold(before, tree, paths));
        }
    }
    before.truncate(depth);
}

/// The modules of a crate.
struct Map<'a> {
    modules: BTreeMap<Module, &'a str>,
    /// Names that modules hand on, each with where it comes from, as that module says it.
    handed_on: BTreeMap<(Module, String), Module>,
}

impl<'a> Map<'a> {
    /// The file that a path leads to, from the module `here`: that of the last module on the way,
    /// or where that one has the name from.
    fn file(&self, here: &[String], path: &[String]) -> Option<&'a str> {
        let (first, mut rest) = path.split_first()?;
        let mut at = match first.as_str() {
            "crate" => Module::new(),
            "self" => here.to_vec(),
            "super" => here[..here.len().checked_sub(1)?].to_vec(),
            name => {
                let child: Module = here.iter().cloned().chain([name.to_owned()]).collect();
                if !self.modules.contains_key(&child) {
                    return None;
                }
                child
            }
        };
        while let Some((name, further)) = rest.split_first() {
            if name == "super" {
                at.pop();
            } else {
                at.push(name.clone());
                if !self.modules.contains_key(&at) {
                    at.pop();
                    break;
                }
            }
            rest = further;
        }
        if let Some((name, _)) = rest.split_first()
            && let Some(from) = self.handed_on.get(&(at.clone(), name.clone()))
            && let Some(file) = self.file(&at, from)
        {
            return Some(file);
        }
        // A module inside a file is no file.
        while !self.modules.contains_key(&at) {
            at.pop()?;
        }
        self.modules.get(&at).copied()
    }
}

/// Collects what a file imports.
struct Imports<'m, 'a> {
    here: Module,
    map: &'m Map<'a>,
    found: Vec<&'a str>,
}

fn is_test(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let list = attribute.meta.require_list();
        list.is_ok_and(|list| list.path.is_ident("cfg") && list.tokens.to_string() == "test")
    })
}

impl<'ast> Visit<'ast> for Imports<'_, '_> {
    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        if !is_test(&module.attrs) {
            self.here.push(module.ident.to_string());
            visit::visit_item_mod(self, module);
            self.here.pop();
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        if !is_test(&item.attrs) && matches!(item.vis, syn::Visibility::Inherited) {
            let mut paths = Vec::new();
            unfold(&mut Vec::new(), &item.tree, &mut paths);
            self.found.extend(paths.iter().filter_map(|path| self.map.file(&self.here, path)));
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        if path.segments.len() > 1 {
            let names: Vec<String> =
                path.segments.iter().map(|segment| segment.ident.to_string()).collect();
            self.found.extend(self.map.file(&self.here, &names));
        }
        visit::visit_path(self, path);
    }
}

/// Files that reach each other, ascending.
fn circles<'a>(arrows: &Arrows<'a>) -> BTreeSet<Vec<&'a str>> {
    let reached: BTreeMap<&str, BTreeSet<&'a str>> =
        arrows.keys().map(|from| (*from, reached(arrows, from))).collect();
    let circle = |from: &&'a str| -> Vec<&'a str> {
        reached[from].iter().copied().filter(|to| reached[to].contains(from)).collect()
    };
    arrows.keys().filter(|from| reached[*from].contains(*from)).map(circle).collect()
}

/// The files that a file reaches by one arrow or more.
fn reached<'a>(arrows: &Arrows<'a>, from: &str) -> BTreeSet<&'a str> {
    let mut reached = BTreeSet::new();
    let mut next: Vec<&'a str> = arrows.get(from).into_iter().flatten().copied().collect();
    while let Some(file) = next.pop() {
        if reached.insert(file) {
            next.extend(arrows.get(file).into_iter().flatten());
        }
    }
    reached
}

fn check_rooms<'a>(
    plan: &Plan,
    files: impl Iterator<Item = &'a str>,
    arrows: &Arrows<'_>,
    broken: &mut Vec<String>,
) {
    let room = |path: &str| module_of(plan.src, path).into_iter().next();
    let known = |room: &str| plan.rooms.iter().find(|(name, _)| *name == room);
    for path in files {
        if room(path).is_some_and(|room| known(&room).is_none()) {
            broken.push(format!("{path}: a room that tests/tidy does not know"));
        }
    }
    for (from, all) in arrows {
        let Some(here) = room(from) else { continue };
        let Some((_, allowed)) = known(&here) else { continue };
        for to in all {
            let is_drawn =
                room(to).is_some_and(|there| there == here || allowed.contains(&there.as_str()));
            if !is_drawn {
                broken.push(format!("{from}: must not import {to}"));
            }
        }
    }
}

/// Looks for the clock.
fn check_clock(files: &BTreeMap<&str, &str>, broken: &mut Vec<String>) {
    for (path, text) in files {
        let Ok(file) = syn::parse_file(text) else { continue };
        let mut names = Names::default();
        names.visit_file(&file);
        if names.0.iter().any(|name| name.iter().eq(CLOCK.1.iter())) {
            broken.push(format!("{path}: names {}, which no test can hold", CLOCK.1.join("::")));
        }
    }
}

/// Collects all paths of a file.
#[derive(Default)]
struct Names(Vec<Module>);

impl<'ast> Visit<'ast> for Names {
    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        unfold(&mut Vec::new(), &item.tree, &mut self.0);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let names = path.segments.iter().take(3).map(|segment| segment.ident.to_string());
        self.0.push(names.collect());
        visit::visit_path(self, path);
    }
}
