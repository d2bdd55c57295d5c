//! The charts: the objects that helm makes of them with sets of values, and the sets that it
//! refuses.

#![forbid(unsafe_code)]

pub mod chart;
pub mod helm;
pub mod schema;
pub mod yaml;

pub use chart::Chart;
pub use helm::Helm;
