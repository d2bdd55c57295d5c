//! Wire behaviour, compared with a real etcd.
//!
//! [`remote::Remote`] runs the golden scripts of `quorate_test_script` against a server.

#![forbid(unsafe_code)]

pub mod acknowledged;
pub mod cluster_pair;
pub mod cluster_pool;
pub mod data_dir;
pub mod differential;
pub mod etcdctl;
pub mod healthy;
pub mod raw;
pub mod remote;
pub mod server_pair;
