//! Fault injection under load, and a checker of the recorded client history.
//!
//! ```text
//!   workload ──requests──> members <──fault── campaign
//!      │                      │
//!      └──> history           └── audit: everything the members have, read when they are back
//!              └────> checker <─────┘
//! ```
//!
//! [`workload`] issues requests and holds watches open. [`history`] records every request with its
//! times and its outcome. A [`campaign`] injects a [`fault`]. When the members are back, it reads
//! everything that was written since the last audit, and the [`checker`] proves that both records
//! agree: no acknowledged write is lost, every change was requested, and every response agrees with
//! the state of the store at the revision in its header.
//!
//! In a [`live`] cluster, members are replaced or killed while clients work that know the endpoints
//! of all members. The checker proves these histories too.
//!
//! A campaign makes random choices. Its [`seed`] reproduces them.

#![forbid(unsafe_code)]

pub mod campaign;
pub mod checker;
pub mod fault;
pub mod history;
pub mod live;
pub mod seed;
pub mod workload;
