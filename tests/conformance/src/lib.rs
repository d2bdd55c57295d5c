//! The wire's behaviour, compared with a real etcd's.

#![forbid(unsafe_code)]
