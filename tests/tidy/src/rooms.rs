//! Imports between the files of a crate: they form no circle, and stay within a room or follow a
//! planned arrow between rooms.
//!
//! A room is a file at the top of a crate's `src`, with the folder of its name. A file imports
//! another one when it names something in it, outside its tests. A name that a module only
//! re-exports (`pub use`) belongs to the file that it comes from.

use std::collections::{BTreeMap, BTreeSet};

use syn::visit::{self, Visit};

use crate::Repository;

/// The folder of the server's crates.
const SERVER: &str = "server/";

/// Known circles. This one is intended: its two files are parts of each other. No other one may be
/// added.
const CIRCLES: &[&[&str]] = &[&["core/src/mvcc/merge.rs", "core/src/mvcc/stack.rs"]];

/// The rooms of a crate, and the rooms that each may import, which come before it in the list. A
/// new room or arrow must be added here: it is a decision.
struct Plan {
    src: &'static str,
    rooms: &'static [(&'static str, &'static [&'static str])],
}

const PLANS: [Plan; 2] = [API, RAFT];

const API: Plan = Plan {
    src: "server/api/src/",
    rooms: &[
        ("web_rules", &[]),
        ("error", &[]),
        ("version", &[]),
        ("method", &[]),
        ("header", &[]),
        ("metrics", &["method", "version"]),
        ("memory", &["error"]),
        ("tracer", &["method"]),
        ("password", &["error"]),
        ("tokens", &[]),
        ("scan", &["error", "memory"]),
        ("watch", &["error", "header", "metrics"]),
        (
            "server",
            &[
                "error",
                "header",
                "metrics",
                "password",
                "scan",
                "tokens",
                "tracer",
                "watch",
                "web_rules",
            ],
        ),
        ("access", &["error", "method", "scan", "server", "tokens", "tracer"]),
        (
            "ops",
            &[
                "access", "error", "memory", "scan", "server", "tokens", "tracer", "version",
                "watch",
            ],
        ),
        ("transport", &["access", "error", "memory", "method", "metrics", "server", "tracer"]),
        ("gateway", &["error", "memory", "transport"]),
        ("keys", &["error", "gateway", "memory", "transport"]),
        ("grpc", &["access", "error", "ops", "server", "transport", "watch"]),
        ("http", &["error", "ops", "server", "version"]),
        (
            "service",
            &[
                "error",
                "gateway",
                "grpc",
                "http",
                "keys",
                "memory",
                "method",
                "metrics",
                "server",
                "transport",
            ],
        ),
    ],
};

const RAFT: Plan = Plan {
    src: "server/raft/src/",
    rooms: &[
        ("ground", &[]),
        ("budget", &["ground"]),
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
};

/// The source folder of a crate, and a clock that it must not name, because no test can control it.
const CLOCK: (&str, [&str; 3]) = ("server/raft/src/", ["std", "time", "Instant"]);

/// Files that import each other in a circle, known circles that are gone, rooms outside the plan,
/// imports outside the plan, and uses of the forbidden clock.
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

/// The files of each server crate without its tests, by source folder.
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

/// The files that each file imports.
type Arrows<'a> = BTreeMap<&'a str, BTreeSet<&'a str>>;

/// The path of a module, by its names.
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

/// The names that a file re-exports, each with its path.
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

/// Adds the single paths of a `use` to `paths`.
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
    /// The names that modules re-export, each with its path as seen from that module.
    handed_on: BTreeMap<(Module, String), Module>,
}

impl<'a> Map<'a> {
    /// The file that a path in module `here` leads to: that of the last module in the path, or that
    /// of the item if the module re-exports it. `None` outside the crate.
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
        // An inline module belongs to the file around it.
        while !self.modules.contains_key(&at) {
            at.pop()?;
        }
        self.modules.get(&at).copied()
    }
}

/// Collects the files that a file imports.
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

/// The circles: files that reach each other, in ascending order.
fn circles<'a>(arrows: &Arrows<'a>) -> BTreeSet<Vec<&'a str>> {
    let reached: BTreeMap<&str, BTreeSet<&'a str>> =
        arrows.keys().map(|from| (*from, reached(arrows, from))).collect();
    let circle = |from: &&'a str| -> Vec<&'a str> {
        reached[from].iter().copied().filter(|to| reached[to].contains(from)).collect()
    };
    arrows.keys().filter(|from| reached[*from].contains(*from)).map(circle).collect()
}

/// The files that a file reaches through one or more imports.
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
    for (at, (name, allowed)) in plan.rooms.iter().enumerate() {
        let is_before = |room: &str| plan.rooms[..at].iter().any(|(before, _)| *before == room);
        for room in allowed.iter().filter(|room| !is_before(room)) {
            broken.push(format!("{}{name}: {room} must come before it in the plan", plan.src));
        }
    }
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

/// Reports the files that name the forbidden clock.
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

/// Collects all paths that a file names.
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
