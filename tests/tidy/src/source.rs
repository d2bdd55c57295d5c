//! Rules for Rust source.

use proc_macro2::Span;
use syn::spanned::Spanned as _;
use syn::visit::{self, Visit};

use crate::Repository;

/// The most lines of a file.
const FILE_LINES_MAX: usize = 600;
/// The most lines of a function, from its signature to its closing brace.
const FUNCTION_LINES_MAX: usize = 70;
/// The most characters of a line.
const LINE_CHARACTERS_MAX: usize = 100;

/// A name that only some files may use: those whose paths start with one of `homes`.
struct Reserved {
    name: &'static str,
    homes: &'static [&'static str],
}

/// Names of libraries that only some files may use.
const RESERVED: [Reserved; 5] = [
    Reserved {
        name: "tonic::",
        homes: &[
            "proto/src/peer_codec",
            // The gRPC wire of the API. The API's operations must not depend on it.
            "server/api/src/error.rs",
            "server/api/src/grpc",
            // They make gRPC calls within the process.
            "server/api/src/gateway",
            "server/api/src/keys",
            "server/api/src/metrics",
            "server/api/src/service",
            "server/api/src/tracer.rs",
            "server/api/src/transport",
            "server/raft/src/network",
            "server/raft/src/port",
            "server/node/src/bootstrap/discovery",
            "server/node/src/listen/reverse_offer.rs",
            "operator/controller/src/members",
            "tests/",
        ],
    },
    Reserved {
        name: "openraft::",
        homes: &[
            "server/raft/src/consensus",
            "server/raft/src/log",
            "server/raft/src/network",
            "server/raft/src/port",
        ],
    },
    // openraft's handle, which only the adapter and its neighbours hold.
    Reserved { name: "Raft<", homes: &["server/raft/src/consensus"] },
    Reserved { name: "redb::", homes: &["server/storage/"] },
    Reserved { name: "clap::", homes: &["server/node/", "operator/controller/", "tests/"] },
];

/// Files, functions and lines that are too long, files without a header, crates that do not forbid
/// unsafe code, and reserved names outside their homes.
pub fn broken(repository: &Repository) -> Vec<String> {
    let mut broken = Vec::new();
    for (path, text) in repository.with_extension(".rs") {
        check_lines(path, text, &mut broken);
        check_header(path, text, &mut broken);
        check_names(path, text, &mut broken);
        match syn::parse_file(text) {
            Ok(file) => check_functions(path, &file, &mut broken),
            Err(error) => broken.push(format!("{path}: {error}")),
        }
    }
    broken
}

fn check_lines(path: &str, text: &str, broken: &mut Vec<String>) {
    let lines = text.lines().count();
    if lines > FILE_LINES_MAX {
        broken.push(format!("{path}: {lines} lines, more than {FILE_LINES_MAX}"));
    }
    for (number, line) in (1..).zip(text.lines()) {
        let characters = line.chars().count();
        if characters > LINE_CHARACTERS_MAX {
            broken.push(format!(
                "{path}:{number}: {characters} characters, more than {LINE_CHARACTERS_MAX}"
            ));
        }
    }
}

fn check_header(path: &str, text: &str, broken: &mut Vec<String>) {
    if !text.starts_with("//!") {
        broken.push(format!("{path}: does not open by saying what it is (`//!`)"));
    }
    let is_root = ["/src/lib.rs", "/src/main.rs"].iter().any(|root| path.ends_with(root));
    if is_root && !text.contains("#![forbid(unsafe_code)]") {
        broken.push(format!("{path}: does not forbid unsafe code"));
    }
}

fn check_names(path: &str, text: &str, broken: &mut Vec<String>) {
    for reserved in &RESERVED {
        let at_home = reserved.homes.iter().any(|home| path.starts_with(home));
        if !at_home && text.lines().any(|line| names(line, reserved.name)) {
            broken.push(format!("{path}: names {}", reserved.name));
        }
    }
}

/// Whether the code of a line contains `name`, outside comments and not as the end of a longer name
/// or the start of a string.
fn names(line: &str, name: &str) -> bool {
    let code = line.split("//").next().unwrap_or_default();
    code.match_indices(name).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '"')
    })
}

fn check_functions(path: &str, file: &syn::File, broken: &mut Vec<String>) {
    let mut functions = Functions { found: Vec::new() };
    functions.visit_file(file);
    for (name, lines) in functions.found {
        if lines > FUNCTION_LINES_MAX {
            broken
                .push(format!("{path}: {name} has {lines} lines, more than {FUNCTION_LINES_MAX}"));
        }
    }
}

/// Collects the functions of a file with their lengths.
struct Functions {
    found: Vec<(String, usize)>,
}

impl Functions {
    fn note(&mut self, signature: &syn::Signature, end: Span) {
        let lines = end.end().line + 1 - signature.span().start().line;
        self.found.push((signature.ident.to_string(), lines));
    }
}

impl<'ast> Visit<'ast> for Functions {
    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        self.note(&function.sig, function.block.span());
        visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        self.note(&function.sig, function.block.span());
        visit::visit_impl_item_fn(self, function);
    }

    fn visit_trait_item_fn(&mut self, function: &'ast syn::TraitItemFn) {
        if let Some(body) = &function.default {
            self.note(&function.sig, body.span());
        }
        visit::visit_trait_item_fn(self, function);
    }
}
