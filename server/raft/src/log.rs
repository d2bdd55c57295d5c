//! openraft's types, and their encoding in the log.

pub(crate) mod encoding;
pub(crate) mod members;
pub(crate) mod snapshot;
pub(crate) mod store;
pub(crate) mod types;
