//! The operator: it runs clusters of Quorate in Kubernetes.

#![forbid(unsafe_code)]

pub mod cluster;
