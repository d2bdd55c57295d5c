//! The Lock service.

use quorate_proto::v3lockpb as pb;
use tonic::{Request, Response, Status};

use super::session_of;
use super::stubs::lock_server::Lock;
use crate::server::Server;

/// The Lock service of a server.
pub(crate) struct LockService(pub(crate) Server);

#[tonic::async_trait]
impl Lock for LockService {
    async fn lock(
        &self,
        request: Request<pb::LockRequest>,
    ) -> Result<Response<pb::LockResponse>, Status> {
        let session = session_of(&request);
        Ok(Response::new(self.0.lock(&session, request.into_inner()).await?))
    }

    async fn unlock(
        &self,
        request: Request<pb::UnlockRequest>,
    ) -> Result<Response<pb::UnlockResponse>, Status> {
        let session = session_of(&request);
        Ok(Response::new(self.0.unlock(&session, request.into_inner()).await?))
    }
}
