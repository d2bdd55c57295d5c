//! Certificates: two authorities for each cluster, and the certificates that they issue.
//!
//! The authority for clients issues the certificates of clients and of the members' client ports.
//! The authority for members issues the certificates that members show each other. There are two
//! authorities, because a user may hand out the key of the first one, and a program with this key
//! must not become a member.

mod authority;
mod secrets;

pub use authority::{AUTHORITY_LIFETIME, Authority, Issued, Leaf};
pub use secrets::{
    ANNOTATION_RENEWED, Purpose, Validity, Wanted, filled, filled_authority, identity, is_shown,
    validity, wanted,
};

/// A certificate could not be issued.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A name, key or certificate is wrong.
    #[error("{0}")]
    Generate(#[from] rcgen::Error),
    /// The authority's Secret lacks a part.
    #[error("the Secret {secret} has no {key}")]
    Incomplete {
        /// The Secret.
        secret: String,
        /// The part.
        key: &'static str,
    },
}
