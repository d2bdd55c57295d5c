//! The repository's own rules as one fast test.

#![forbid(unsafe_code)]
