//! Wire behaviour, compared with a real etcd.
//!
//! [`remote::Remote`] runs the golden scripts of `quorate_test_script` against a server.

#![forbid(unsafe_code)]

pub mod etcdctl;
pub mod faults;
pub mod lender;
pub mod pair;
pub mod raw;
pub mod remote;
pub mod rivals;
pub mod trios;
