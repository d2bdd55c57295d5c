//! The operator: it runs clusters of Quorate in Kubernetes.

#![forbid(unsafe_code)]

pub mod args;
pub mod certificates;
pub mod cluster;
pub mod context;
pub mod controller;
pub mod error;
pub mod event;
pub mod gate;
pub mod lease;
pub mod listen;
pub mod members;
pub mod metrics;
