//! One cluster: observe, validate, build, plan, apply, status.

pub mod observed;
pub mod plan;
pub mod status;
pub mod step;
pub mod valid;
