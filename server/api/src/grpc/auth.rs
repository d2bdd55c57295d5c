//! The Auth service.

use quorate_proto::etcdserverpb as pb;
use tonic::{Request, Response, Status};

use super::session_of;
use super::stubs::auth_server::Auth;
use crate::server::Server;

/// The Auth service of a server.
pub(crate) struct AuthService(pub(crate) Server);

#[tonic::async_trait]
impl Auth for AuthService {
    async fn auth_enable(
        &self,
        request: Request<pb::AuthEnableRequest>,
    ) -> Result<Response<pb::AuthEnableResponse>, Status> {
        let session = session_of(&request);
        Ok(Response::new(self.0.auth_enable(&session, request.into_inner()).await?))
    }

    async fn auth_disable(
        &self,
        request: Request<pb::AuthDisableRequest>,
    ) -> Result<Response<pb::AuthDisableResponse>, Status> {
        let session = session_of(&request);
        Ok(Response::new(self.0.auth_disable(&session, request.into_inner()).await?))
    }

    async fn auth_status(
        &self,
        request: Request<pb::AuthStatusRequest>,
    ) -> Result<Response<pb::AuthStatusResponse>, Status> {
        let session = session_of(&request);
        Ok(Response::new(self.0.auth_status(&session, request.into_inner()).await?))
    }

    async fn authenticate(
        &self,
        request: Request<pb::AuthenticateRequest>,
    ) -> Result<Response<pb::AuthenticateResponse>, Status> {
        Ok(Response::new(self.0.authenticate(request.into_inner()).await?))
    }

    async fn user_add(
        &self,
        request: Request<pb::AuthUserAddRequest>,
    ) -> Result<Response<pb::AuthUserAddResponse>, Status> {
        let session = session_of(&request);
        Ok(Response::new(self.0.user_add(&session, request.into_inner()).await?))
    }

    async fn user_get(
        &self,
        request: Request<pb::AuthUserGetRequest>,
    ) -> Result<Response<pb::AuthUserGetResponse>, Status> {
        let session = session_of(&request);
        Ok(Response::new(self.0.user_get(&session, request.into_inner()).await?))
    }

    async fn user_list(
        &self,
        request: Request<pb::AuthUserListRequest>,
    ) -> Result<Response<pb::AuthUserListResponse>, Status> {
        let session = session_of(&request);
        Ok(Response::new(self.0.user_list(&session, request.into_inner()).await?))
    }

    async fn user_delete(
        &self,
        request: Request<pb::AuthUserDeleteRequest>,
    ) -> Result<Response<pb::AuthUserDeleteResponse>, Status> {
        let session = session_of(&request);
        Ok(Response::new(self.0.user_delete(&session, request.into_inner()).await?))
    }

    async fn user_change_password(
        &self,
        request: Request<pb::AuthUserChangePasswordRequest>,
    ) -> Result<Response<pb::AuthUserChangePasswordResponse>, Status> {
        let session = session_of(&request);
        Ok(Response::new(self.0.user_change_password(&session, request.into_inner()).await?))
    }

    async fn user_grant_role(
        &self,
        request: Request<pb::AuthUserGrantRoleRequest>,
    ) -> Result<Response<pb::AuthUserGrantRoleResponse>, Status> {
        let session = session_of(&request);
        Ok(Response::new(self.0.user_grant_role(&session, request.into_inner()).await?))
    }

    async fn user_revoke_role(
        &self,
        request: Request<pb::AuthUserRevokeRoleRequest>,
    ) -> Result<Response<pb::AuthUserRevokeRoleResponse>, Status> {
        let session = session_of(&request);
        Ok(Response::new(self.0.user_revoke_role(&session, request.into_inner()).await?))
    }

    async fn role_add(
        &self,
        request: Request<pb::AuthRoleAddRequest>,
    ) -> Result<Response<pb::AuthRoleAddResponse>, Status> {
        let session = session_of(&request);
        Ok(Response::new(self.0.role_add(&session, request.into_inner()).await?))
    }

    async fn role_get(
        &self,
        request: Request<pb::AuthRoleGetRequest>,
    ) -> Result<Response<pb::AuthRoleGetResponse>, Status> {
        let session = session_of(&request);
        Ok(Response::new(self.0.role_get(&session, request.into_inner()).await?))
    }

    async fn role_list(
        &self,
        request: Request<pb::AuthRoleListRequest>,
    ) -> Result<Response<pb::AuthRoleListResponse>, Status> {
        let session = session_of(&request);
        Ok(Response::new(self.0.role_list(&session, request.into_inner()).await?))
    }

    async fn role_delete(
        &self,
        request: Request<pb::AuthRoleDeleteRequest>,
    ) -> Result<Response<pb::AuthRoleDeleteResponse>, Status> {
        let session = session_of(&request);
        Ok(Response::new(self.0.role_delete(&session, request.into_inner()).await?))
    }

    async fn role_grant_permission(
        &self,
        request: Request<pb::AuthRoleGrantPermissionRequest>,
    ) -> Result<Response<pb::AuthRoleGrantPermissionResponse>, Status> {
        let session = session_of(&request);
        Ok(Response::new(self.0.role_grant_permission(&session, request.into_inner()).await?))
    }

    async fn role_revoke_permission(
        &self,
        request: Request<pb::AuthRoleRevokePermissionRequest>,
    ) -> Result<Response<pb::AuthRoleRevokePermissionResponse>, Status> {
        let session = session_of(&request);
        Ok(Response::new(self.0.role_revoke_permission(&session, request.into_inner()).await?))
    }
}
