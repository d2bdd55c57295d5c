//! Multi-version storage: every version of every key, by key and by revision.
//!
//! ```text
//!                 time ->     r2     r3     r4     r5     r6
//!        key a               put    put            del    put
//!        key b                             put
//!
//!        generation of a     [ 1      2     -     x ]   [ 1 ...        version, x = tombstone
//! ```
//!
//! Versions lie in [`layer::Layer`]s over a [`crate::base::Base`]; a [`Stack`] reads them as one, a
//! [`View`] does so at one revision. Each version knows the one it superseded, so that reading at
//! an old revision follows a key back through history instead of searching it.

mod counted;
pub mod hash;
pub mod layer;
mod merge;
mod patience;
pub mod range;
mod stack;
mod view;

pub(crate) use patience::Limit;
pub use patience::Patience;
pub use stack::{Portion, SharedLayer, Stack};
pub use view::View;
