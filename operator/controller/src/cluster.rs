//! One cluster: observe, validate, build, plan, apply, status.

pub mod apply;
pub mod build;
pub mod failures;
pub mod observe;
pub mod observed;
pub mod plan;
mod reconcile;
pub mod status;
pub mod step;
pub mod valid;

pub use reconcile::{Key, Next, Planner, reconcile};
