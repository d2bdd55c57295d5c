//! The wire's behaviour, compared with a real etcd's.

#![forbid(unsafe_code)]

pub mod etcdctl;
pub mod faults;
pub mod pair;
pub mod raw;
pub mod rivals;
