//! A member's disk usage: when it flushes, its space quota, and the free space.

pub(crate) mod flusher;
pub(crate) mod quota;
pub(crate) mod reservations;
pub(crate) mod space;
