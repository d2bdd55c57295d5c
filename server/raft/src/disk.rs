//! What a member has on disk: when it is flushed, how much it may be, and whether there is room.

pub(crate) mod claims;
pub(crate) mod flusher;
pub(crate) mod quota;
pub(crate) mod room;
