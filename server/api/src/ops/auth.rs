//! Users and roles.

use quorate_core::auth::{Auth, AuthCommand};
use quorate_core::{AUTH_FORMAT, Command, Refusal, Reply};
use quorate_proto::etcdserverpb as pb;

use super::propose::wrong_reply;
use crate::error::ApiError;
use crate::server::Server;

type Header = Option<pb::ResponseHeader>;

impl Server {
    /// Refuses: authentication cannot be turned on yet.
    ///
    /// # Errors
    /// Always.
    #[expect(clippy::unused_async, reason = "as all operations of the service")]
    pub(crate) async fn auth_enable(
        &self,
        _request: pb::AuthEnableRequest,
    ) -> Result<pb::AuthEnableResponse, ApiError> {
        Err(ApiError::NoAuth)
    }

    /// Does nothing: authentication is always off.
    ///
    /// # Errors
    /// No leader answers in time.
    pub(crate) async fn auth_disable(
        &self,
        _request: pb::AuthDisableRequest,
    ) -> Result<pb::AuthDisableResponse, ApiError> {
        let (header, ()) = self.read_auth(|_| Ok(())).await?;
        Ok(pb::AuthDisableResponse { header })
    }

    /// Whether authentication is on, and the revision of users and roles.
    ///
    /// # Errors
    /// No leader answers in time.
    pub(crate) async fn auth_status(
        &self,
        _request: pb::AuthStatusRequest,
    ) -> Result<pb::AuthStatusResponse, ApiError> {
        let (header, auth_revision) = self.read_auth(|auth| Ok(auth.revision())).await?;
        Ok(pb::AuthStatusResponse { header, enabled: false, auth_revision })
    }

    /// Refuses to give a token: authentication is off.
    ///
    /// # Errors
    /// Authentication is off, or no leader answers in time.
    pub(crate) async fn authenticate(
        &self,
        _request: pb::AuthenticateRequest,
    ) -> Result<pb::AuthenticateResponse, ApiError> {
        self.member().linearize().await?;
        Err(ApiError::AuthNotEnabled)
    }

    /// Adds a user.
    ///
    /// # Errors
    /// The state machine refuses the change, not all members can apply it, or the proposal fails.
    pub(crate) async fn user_add(
        &self,
        mut request: pb::AuthUserAddRequest,
    ) -> Result<pb::AuthUserAddResponse, ApiError> {
        let password = std::mem::take(&mut request.password);
        if !request.options.is_some_and(|options| options.no_password) {
            request.hashed_password = self.passwords().hash(password).await?;
        }
        let header = self.change(AuthCommand::UserAdd(request)).await?;
        Ok(pb::AuthUserAddResponse { header })
    }

    /// Changes a user's password. Its errors are those of [`user_add`](Self::user_add).
    pub(crate) async fn user_change_password(
        &self,
        mut request: pb::AuthUserChangePasswordRequest,
    ) -> Result<pb::AuthUserChangePasswordResponse, ApiError> {
        let password = std::mem::take(&mut request.password);
        // As in etcd, a request without a password can have a hash.
        if !password.is_empty() {
            request.hashed_password = self.passwords().hash(password).await?;
        }
        let header = self.change(AuthCommand::UserChangePassword(request)).await?;
        Ok(pb::AuthUserChangePasswordResponse { header })
    }

    /// Deletes a user. Its errors are those of [`user_add`](Self::user_add).
    pub(crate) async fn user_delete(
        &self,
        request: pb::AuthUserDeleteRequest,
    ) -> Result<pb::AuthUserDeleteResponse, ApiError> {
        let header = self.change(AuthCommand::UserDelete(request)).await?;
        Ok(pb::AuthUserDeleteResponse { header })
    }

    /// Grants a role to a user. Its errors are those of [`user_add`](Self::user_add).
    pub(crate) async fn user_grant_role(
        &self,
        request: pb::AuthUserGrantRoleRequest,
    ) -> Result<pb::AuthUserGrantRoleResponse, ApiError> {
        let header = self.change(AuthCommand::UserGrantRole(request)).await?;
        Ok(pb::AuthUserGrantRoleResponse { header })
    }

    /// Revokes a role of a user. Its errors are those of [`user_add`](Self::user_add).
    pub(crate) async fn user_revoke_role(
        &self,
        request: pb::AuthUserRevokeRoleRequest,
    ) -> Result<pb::AuthUserRevokeRoleResponse, ApiError> {
        let header = self.change(AuthCommand::UserRevokeRole(request)).await?;
        Ok(pb::AuthUserRevokeRoleResponse { header })
    }

    /// Adds a role. Its errors are those of [`user_add`](Self::user_add).
    pub(crate) async fn role_add(
        &self,
        request: pb::AuthRoleAddRequest,
    ) -> Result<pb::AuthRoleAddResponse, ApiError> {
        let header = self.change(AuthCommand::RoleAdd(request)).await?;
        Ok(pb::AuthRoleAddResponse { header })
    }

    /// Deletes a role. Its errors are those of [`user_add`](Self::user_add).
    pub(crate) async fn role_delete(
        &self,
        request: pb::AuthRoleDeleteRequest,
    ) -> Result<pb::AuthRoleDeleteResponse, ApiError> {
        let header = self.change(AuthCommand::RoleDelete(request)).await?;
        Ok(pb::AuthRoleDeleteResponse { header })
    }

    /// Grants a permission to a role. Its errors are those of [`user_add`](Self::user_add).
    pub(crate) async fn role_grant_permission(
        &self,
        request: pb::AuthRoleGrantPermissionRequest,
    ) -> Result<pb::AuthRoleGrantPermissionResponse, ApiError> {
        let header = self.change(AuthCommand::RoleGrantPermission(request)).await?;
        Ok(pb::AuthRoleGrantPermissionResponse { header })
    }

    /// Revokes a permission of a role. Its errors are those of [`user_add`](Self::user_add).
    pub(crate) async fn role_revoke_permission(
        &self,
        request: pb::AuthRoleRevokePermissionRequest,
    ) -> Result<pb::AuthRoleRevokePermissionResponse, ApiError> {
        let header = self.change(AuthCommand::RoleRevokePermission(request)).await?;
        Ok(pb::AuthRoleRevokePermissionResponse { header })
    }

    /// The roles of a user.
    ///
    /// # Errors
    /// The user does not exist, or no leader answers in time.
    pub(crate) async fn user_get(
        &self,
        request: pb::AuthUserGetRequest,
    ) -> Result<pb::AuthUserGetResponse, ApiError> {
        let roles = |auth: &Auth| auth.roles_of(&request.name).map(<[String]>::to_vec);
        let (header, roles) = self.read_auth(roles).await?;
        Ok(pb::AuthUserGetResponse { header, roles })
    }

    /// The names of all users.
    ///
    /// # Errors
    /// No leader answers in time.
    pub(crate) async fn user_list(
        &self,
        _request: pb::AuthUserListRequest,
    ) -> Result<pb::AuthUserListResponse, ApiError> {
        let names = |auth: &Auth| Ok(auth.users().keys().cloned().collect());
        let (header, users) = self.read_auth(names).await?;
        Ok(pb::AuthUserListResponse { header, users })
    }

    /// The permissions of a role.
    ///
    /// # Errors
    /// The role does not exist, or no leader answers in time.
    pub(crate) async fn role_get(
        &self,
        request: pb::AuthRoleGetRequest,
    ) -> Result<pb::AuthRoleGetResponse, ApiError> {
        let (header, perm) = self.read_auth(|auth| auth.permissions_of(&request.role)).await?;
        Ok(pb::AuthRoleGetResponse { header, perm })
    }

    /// The names of all roles.
    ///
    /// # Errors
    /// No leader answers in time.
    pub(crate) async fn role_list(
        &self,
        _request: pb::AuthRoleListRequest,
    ) -> Result<pb::AuthRoleListResponse, ApiError> {
        let names = |auth: &Auth| Ok(auth.roles().keys().cloned().collect());
        let (header, roles) = self.read_auth(names).await?;
        Ok(pb::AuthRoleListResponse { header, roles })
    }

    /// Makes one change of users and roles.
    async fn change(&self, command: AuthCommand) -> Result<Header, ApiError> {
        let is_first = self.member().store().tables(|tables| tables.auth.is_unused());
        if is_first && !self.member().all_apply(AUTH_FORMAT).await? {
            return Err(ApiError::NotCapable);
        }
        let length = command.encoded_len();
        match self.propose(&Command::Auth(command), length, None).await? {
            Reply::Done => Ok(Some(self.header_now())),
            other => Err(wrong_reply(&other)),
        }
    }

    /// Reads users and roles after every acknowledged change.
    async fn read_auth<T>(
        &self,
        read: impl FnOnce(&Auth) -> Result<T, Refusal>,
    ) -> Result<(Header, T), ApiError> {
        self.member().linearize().await?;
        let header = Some(self.header_now());
        let result = self.member().store().tables(|tables| read(&tables.auth))?;
        Ok((header, result))
    }
}
