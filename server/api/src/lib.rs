//! The client API of the server: etcd's gRPC services and HTTP pages.
//!
//! [`ApiService`] answers all requests on a client port. Only this crate knows etcd's error codes,
//! texts and headers; [`quorate_raft::Member`] does not.
//!
//! ```text
//!   service --> transport   checks the headers, charges the call, counts it
//!      |
//!      +-----> gateway      turns JSON into a call, and its answer into JSON
//!      |
//!      +-----> keys         turns a path with a value into a call, and its answer into text
//!      |
//!      +-----> grpc         decodes a call and encodes its outcome
//!                |
//!               ops         the operation, the same for every wire
//!             /  |  \
//!         watch scan  raft
//! ```

#![forbid(unsafe_code)]

mod access;
mod error;
mod gateway;
mod grpc;
mod header;
mod http;
mod keys;
mod memory;
mod method;
mod metrics;
mod ops;
mod password;
mod scan;
mod server;
mod service;
pub mod tokens;
mod tracer;
mod transport;
mod version;
mod watch;
mod web_rules;

pub use error::ApiError;
pub use http::certificate_page::CertificatePage;
pub use metrics::Metrics;
pub use server::{Options, Server};
pub use service::ApiService;
pub use service::socket::Socket;
pub use tracer::Tracer;
pub use transport::answer::ResponseBody;
pub use transport::caller::Caller;
pub use transport::intake::Intake;
pub use version::{CLUSTER_VERSION, ETCD_VERSION, VERSION};
pub use web_rules::WebRules;
