//! Fault injection under load, and a checker of the recorded client history.
//!
//! ```text
//!   workload ──requests──> members <──fault── campaign
//!      │                      │
//!      └──> history           └── audit: the data of the members, read after the fault
//!              └────> checker <─────┘
//! ```
//!
//! [`workload`] issues requests and holds watches open. [`history`] records every request with its
//! times and its outcome. A [`campaign`] injects a [`fault`]. When the members are back, the
//! campaign makes an audit: it reads the leases, the keys and the hashes, and every event since the
//! last audit. The [`checker`] proves that the history and the audit agree: no acknowledged write
//! is lost; every change was requested by a client or is the end of an expired lease; and every
//! response agrees with the state of the store at the revision in the header of the response.
//!
//! In a [`live`] cluster, the clients know the endpoints of all members. Members are replaced or
//! killed while the clients work. The checker checks these histories too.
//!
//! A campaign makes random choices. The [`seed`] of the campaign reproduces these choices.

#![forbid(unsafe_code)]

pub mod campaign;
pub mod checker;
pub mod fault;
pub mod history;
pub mod live;
pub mod seed;
pub mod workload;
