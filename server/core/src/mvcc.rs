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
//! Versions are in [`memtable::Memtable`]s over a [`crate::base::Base`]. A stack reads them as one
//! store; a [`View`] reads a stack at one revision. Each version has the revision of the version it
//! superseded, so a read at an old revision follows a key back through history instead of searching
//! for it.

mod context;
mod counted;
pub mod hash;
pub mod memtable;
mod merge;
pub mod range;
mod stack;
mod view;

pub(crate) use context::OptionalContext;
pub use context::ReadContext;
pub(crate) use stack::Stack;
pub use stack::{ChunkLimit, SharedMemtable};
pub use view::View;
