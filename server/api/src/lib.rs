//! The client API of the server: etcd's gRPC services and HTTP pages.
//!
//! [`ApiService`] answers all requests on a client port. Only this crate knows etcd's error codes,
//! texts and headers; [`quorate_raft::Member`] does not.

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
mod version;
mod watch;

pub use error::ApiError;
pub use metrics::Metrics;
pub use server::{Options, Server};
pub use service::ApiService;
pub use transport::answer::ResponseBody;
pub use transport::intake::Intake;
pub use version::{CLUSTER_VERSION, ETCD_VERSION};
