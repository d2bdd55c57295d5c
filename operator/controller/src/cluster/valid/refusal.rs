//! Why a spec cannot be followed.

/// Why a spec cannot be followed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// The object does not come from an API server.
    #[error("metadata: the name, the namespace or the uid is missing")]
    Identity,
    /// The number of members is not one that the operator works towards.
    #[error("members: must be 1, 3, 5 or 7, and not {0}")]
    Members(i32),
    /// A span of time cannot be read.
    #[error("{field}: {text:?} is not a span of time: write it as in 90m or 1h30m")]
    Span {
        /// The field.
        field: &'static str,
        /// Its text.
        text: String,
    },
    /// The size of the volumes cannot be read.
    #[error("storage.size: {0:?} is not an amount of bytes: write it as in 10Gi")]
    Size(String),
    /// The version cannot be read.
    #[error("version: {0:?} is not a version: write it as in 0.1.0")]
    Version(String),
}
