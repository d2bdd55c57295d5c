//! The charts: what helm makes of them with sets of values, and which sets it refuses.

#![forbid(unsafe_code)]

pub mod chart;
pub mod helm;
pub mod schema;
pub mod yaml;

pub use chart::Chart;
pub use helm::Helm;
