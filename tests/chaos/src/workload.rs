//! Clients that load members, and watches beside them.

pub mod client;
pub mod ignorer;
pub mod load;
pub mod roamer;
pub mod traffic;
pub mod value;
pub mod watcher;
pub mod watches;
