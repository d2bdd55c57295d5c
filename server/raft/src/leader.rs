//! What a member does while it leads.

pub(crate) mod compactor;
pub(crate) mod duties;
pub(crate) mod integrity;
pub(crate) mod lessor;
