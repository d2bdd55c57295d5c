//! Communication between members: the receiving side.

pub(crate) mod appends;
pub(crate) mod body;
pub(crate) mod claims;
pub(crate) mod entrance;
pub(crate) mod failures;
pub(crate) mod guard;
pub(crate) mod introduction;
pub(crate) mod loan;
pub(crate) mod proposals;
pub(crate) mod receive;
pub(crate) mod service;
