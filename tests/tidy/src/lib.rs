//! The rules of the repository as one fast test.
//!
//! Each rule is a function from the [`Repository`] to its violations, one line each, so that the
//! test can report all violations at once and can run on a repository with planted errors.

#![forbid(unsafe_code)]

pub mod arrows;
pub mod layout;
pub mod references;
pub mod repository;
pub mod rooms;
pub mod source;
pub mod text;

pub use repository::Repository;

/// All violations of the rules that the files alone show. [`arrows`] also needs cargo's metadata.
pub fn broken(repository: &Repository) -> Vec<String> {
    let rules: [fn(&Repository) -> Vec<String>; 5] =
        [layout::broken, text::broken, source::broken, rooms::broken, references::broken];
    rules.into_iter().flat_map(|rule| rule(repository)).collect()
}
