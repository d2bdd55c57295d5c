//! gRPC's standard health service, for the server as a whole.

use std::collections::BTreeMap;
use std::pin::Pin;

use futures_util::{Stream, StreamExt, stream};
use quorate_proto::health as pb;
use quorate_proto::health::health_check_response::ServingStatus;
use tonic::{Request, Response, Status};

use super::stubs::health_server::Health;
use crate::server::Server;

/// The health service of a server.
pub(crate) struct HealthService(pub(crate) Server);

type HealthStream = Pin<Box<dyn Stream<Item = Result<pb::HealthCheckResponse, Status>> + Send>>;

fn answer(status: ServingStatus) -> pb::HealthCheckResponse {
    pb::HealthCheckResponse { status: status as i32 }
}

#[tonic::async_trait]
impl Health for HealthService {
    async fn check(
        &self,
        request: Request<pb::HealthCheckRequest>,
    ) -> Result<Response<pb::HealthCheckResponse>, Status> {
        match request.into_inner().service.as_str() {
            "" => Ok(Response::new(answer(ServingStatus::Serving))),
            _ => Err(Status::not_found("unknown service")),
        }
    }

    async fn list(
        &self,
        _request: Request<pb::HealthListRequest>,
    ) -> Result<Response<pb::HealthListResponse>, Status> {
        let statuses = BTreeMap::from([(String::new(), answer(ServingStatus::Serving))]);
        Ok(Response::new(pb::HealthListResponse { statuses }))
    }

    type WatchStream = HealthStream;

    async fn watch(
        &self,
        request: Request<pb::HealthCheckRequest>,
    ) -> Result<Response<HealthStream>, Status> {
        let known = request.into_inner().service.is_empty();
        let now = if known { ServingStatus::Serving } else { ServingStatus::ServiceUnknown };
        let stop = self.0.stopping().clone();
        let end = stream::once(async move {
            stop.cancelled_owned().await;
            Ok(answer(ServingStatus::NotServing))
        });
        let now = stream::once(std::future::ready(Ok(answer(now))));
        Ok(Response::new(Box::pin(now.chain(end))))
    }
}
