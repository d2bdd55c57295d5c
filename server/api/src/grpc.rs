//! The gRPC services. Each service decodes a call, passes the call to the operation of the same
//! name in [`crate::ops`], and encodes the outcome.

pub(crate) mod auth;
pub(crate) mod cluster;
pub(crate) mod codec;
pub(crate) mod election;
pub(crate) mod health;
pub(crate) mod kv;
pub(crate) mod lease;
pub(crate) mod lock;
pub(crate) mod maintenance;
pub(crate) mod watch;

use http::HeaderMap;
use quorate_raft::Account;
use tonic::{Request, Response};

use crate::access::session::Session;
use crate::ops::Answered;
use crate::transport::caller::Caller;
use crate::transport::stream::keeping;

/// The metadata key with which a client requires a leader.
const HAS_LEADER: &str = "hasleader";

/// Whether the client requires a leader. If so, the server refuses the call while there is no
/// leader.
pub(crate) fn needs_leader(headers: &HeaderMap) -> bool {
    headers.get(HAS_LEADER).is_some_and(|value| value == "true")
}

/// The memory account of the request's connection.
fn account_of<T>(request: &Request<T>) -> Account {
    let caller = request.extensions().get::<Caller>();
    caller.expect("`serve_grpc` adds it to every call").account.clone()
}

/// The session of the request: the client's memory account, login and trace.
fn session_of<T>(request: &Request<T>) -> Session {
    let caller = request.extensions().get::<Caller>();
    let caller = caller.expect("`serve_grpc` adds it to every call");
    Session::new(caller.account.clone(), caller.login.clone(), caller.trace.clone())
}

/// The response for an answer. The response keeps the permit until the message is encoded.
fn respond<M>(answered: Answered<M>) -> Response<M> {
    keeping(answered.message, answered.permit)
}

/// The generated server stubs.
pub(crate) mod stubs {
    #![allow(
        missing_docs,
        unreachable_pub,
        clippy::all,
        clippy::allow_attributes_without_reason,
        clippy::pedantic,
        clippy::use_self,
        clippy::unwrap_used,
        clippy::or_fun_call,
        reason = "generated code"
    )]
    include!(concat!(env!("OUT_DIR"), "/etcdserverpb.KV.rs"));
    include!(concat!(env!("OUT_DIR"), "/etcdserverpb.Watch.rs"));
    include!(concat!(env!("OUT_DIR"), "/etcdserverpb.Lease.rs"));
    include!(concat!(env!("OUT_DIR"), "/etcdserverpb.Cluster.rs"));
    include!(concat!(env!("OUT_DIR"), "/etcdserverpb.Maintenance.rs"));
    include!(concat!(env!("OUT_DIR"), "/etcdserverpb.Auth.rs"));
    include!(concat!(env!("OUT_DIR"), "/v3electionpb.Election.rs"));
    include!(concat!(env!("OUT_DIR"), "/v3lockpb.Lock.rs"));
    include!(concat!(env!("OUT_DIR"), "/grpc.health.v1.Health.rs"));
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http_body_util::Full;
    use quorate_proto::health as pb;
    use quorate_raft::Budget;
    use tonic::codegen::Service as _;
    use tonic::{Code, Status};

    use super::stubs::health_server::{Health, HealthServer};
    use super::*;

    /// A service that answers with the certificate of its caller.
    struct Probe;

    #[tonic::async_trait]
    impl Health for Probe {
        type WatchStream = futures_util::stream::Empty<Result<pb::HealthCheckResponse, Status>>;

        async fn check(
            &self,
            request: Request<pb::HealthCheckRequest>,
        ) -> Result<Response<pb::HealthCheckResponse>, Status> {
            let certificate = request.extensions().get::<Caller>().and_then(Caller::certificate);
            Err(Status::unknown(String::from_utf8_lossy(certificate.unwrap())))
        }

        async fn list(
            &self,
            _request: Request<pb::HealthListRequest>,
        ) -> Result<Response<pb::HealthListResponse>, Status> {
            Err(Status::new(Code::Unimplemented, ""))
        }

        async fn watch(
            &self,
            _request: Request<pb::HealthCheckRequest>,
        ) -> Result<Response<Self::WatchStream>, Status> {
            Err(Status::new(Code::Unimplemented, ""))
        }
    }

    #[tokio::test]
    async fn the_certificate_of_the_caller_reaches_the_handler() {
        let empty_message = Full::new(Bytes::from_static(&[0; 5]));
        let mut request = http::Request::post("/grpc.health.v1.Health/Check");
        request = request.header("content-type", "application/grpc");
        let mut request = request.body(empty_message).unwrap();
        let certificate = Bytes::from_static(b"DER");
        let caller = Caller::new(Budget::new(1).account(), Some(certificate), true);
        request.extensions_mut().insert(caller);
        let response = HealthServer::new(Probe).call(request).await.unwrap();
        assert_eq!(response.headers()["grpc-message"], "DER");
    }
}
