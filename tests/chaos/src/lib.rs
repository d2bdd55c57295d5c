//! Faults under load, and a checker of what clients saw.
//!
//! ```text
//!   workload ──requests──> member <──fault── campaign
//!      │                     │
//!      └──> history          └── audit: everything the member has, read when it is back
//!              └────> checker <────┘
//! ```
//!
//! [`workload`] issues requests and holds watches open, and [`history`] keeps what was asked, when,
//! and what came of it. A [`fault`] strikes; once the member is back, a [`campaign`] reads all that
//! was written meanwhile and lets the [`checker`] prove that the two belong together: nothing that
//! was acknowledged is gone, nothing happened that nobody asked for, and every answer is what the
//! store held at the revision that the answer names.
//!
//! A [`live`] cluster has its members changed, or killed, while clients are at work that know all
//! of them; its histories are proven the same way.
//!
//! A campaign is random, and its [`seed`] names it.

#![forbid(unsafe_code)]

pub mod campaign;
pub mod checker;
pub mod fault;
pub mod history;
pub mod live;
pub mod seed;
pub mod workload;
