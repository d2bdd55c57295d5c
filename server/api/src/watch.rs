//! Delivering events to watch streams.
//!
//! ```text
//!   applied --> hub: reads what is new from history, matches and encodes once for each group
//!                 |            |
//!                 v            v
//!              outbox       outbox      one for each stream, bounded
//!                 |            |
//!              stream       stream      pulled by the connection
//! ```
//!
//! The hub is fed by no queue: it reads what was written since from the store, so that it can
//! neither fall out of step with it nor hold it up. A watcher is with the hub as long as its stream
//! keeps up. When the stream's outbox is full, or when it starts in the past, the stream's own task
//! reads history for it ([`stream`]) until it has caught up: a slow watcher costs itself. Streams
//! take turns at that, and share what they read ([`history`]).
//!
//! # Invariants
//! - A watcher sees every event of its range from its start revision on, once, in order. What was
//!   compacted before it could be read ends the watch, and never leaves a gap.
//! - The events of one revision are in one message, unless the watcher allows fragments.
//! - A header's revision R says that every event up to R that the watcher wants came before.

pub(crate) mod frame;
pub(crate) mod history;
pub(crate) mod hub;
pub(crate) mod outbox;
pub(crate) mod stream;
