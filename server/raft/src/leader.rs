//! The leader's work.

pub(crate) mod compactor;
pub(crate) mod duties;
pub(crate) mod hashes;
pub(crate) mod integrity;
pub(crate) mod leases;
pub(crate) mod lessor;
