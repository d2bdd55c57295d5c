//! The edge of the server: everything that clients of etcd speak.
//!
//! [`ApiService`] answers whatever comes in on a client port: gRPC, and the pages beside it. It
//! knows etcd's codes, texts and headers; behind it, [`quorate_raft::Member`] knows nothing of
//! them.

#![forbid(unsafe_code)]

mod codec;
mod error;
mod grpc;
mod http;
mod ids;
mod metrics;
mod scan;
mod server;
mod service;
mod transport;
mod watch;

pub use error::ApiError;
pub use metrics::Metrics;
pub use server::{CLUSTER_VERSION, ETCD_VERSION, Options, Server};
pub use service::ApiService;
pub use transport::answer::ResponseBody;
pub use transport::intake::Intake;
