//! Delivers events to watch streams.
//!
//! ```text
//!   applied --> hub: reads new history, matches and encodes each event once per group
//!                 |            |
//!                 v            v
//!              outbox       outbox      one per stream, bounded
//!                 |            |
//!              stream       stream      pulled by the connection
//! ```
//!
//! The hub has no input queue. It reads new writes from the store, so it can neither diverge from
//! the store nor delay writes. A watcher is synced as long as its stream keeps up; then it belongs
//! to the hub. When the stream's outbox is full, or the watcher starts in the past, the watcher is
//! unsynced, and the task of its stream ([`crate::ops::watch`]) reads history for it until it has
//! caught up. So a slow watcher delays only its own stream. Streams take turns reading history and
//! share what they read ([`history`]). A revision with too many events for the hub is left to the
//! streams, too.
//!
//! The events of a message are encoded here, in protobuf's form, because many streams share them.
//! The wire only adds the head of its message ([`frame`]). A wire of another form has to decode
//! them.
//!
//! # Invariants
//! - A watcher receives every event of its range from its start revision on, exactly once and in
//!   order. If history is compacted before it is read, the watch ends; there is never a gap.
//! - The events of one revision are in one message, unless the watcher allows fragments.
//! - A header with revision R means that all events up to R that the watcher wants have been sent
//!   before or are in this message.

pub(crate) mod frame;
pub(crate) mod history;
pub(crate) mod hub;
pub(crate) mod outbox;
pub(crate) mod synced;
