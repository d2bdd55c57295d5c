//! Users and roles, and the tokens that users get for their passwords.

use quorate_core::auth::{Auth, AuthCommand, Authenticate, Needs, Origin};
use quorate_core::{AUTH_FORMAT, Command, Refusal, Reply, USERS_FORMAT};
use quorate_proto::etcdserverpb as pb;

use super::propose::wrong_reply;
use crate::access::grant::Grant;
use crate::access::session::Session;
use crate::error::ApiError;
use crate::server::Server;
use crate::tokens::Tokens;
use crate::tokens::jwt::Jwt;
use crate::tokens::simple::random_letters;

type Header = Option<pb::ResponseHeader>;

impl Server {
    /// Turns authentication on.
    ///
    /// # Errors
    /// The user `root` does not exist or does not have the role `root`, not all members check
    /// permissions, or the proposal fails.
    pub(crate) async fn auth_enable(
        &self,
        session: &Session,
        request: pb::AuthEnableRequest,
    ) -> Result<pb::AuthEnableResponse, ApiError> {
        let header = self.change(session, AuthCommand::Enable(request)).await?;
        Ok(pb::AuthEnableResponse { header })
    }

    /// Turns authentication off.
    ///
    /// # Errors
    /// No leader answers in time, or the proposal fails.
    pub(crate) async fn auth_disable(
        &self,
        session: &Session,
        request: pb::AuthDisableRequest,
    ) -> Result<pb::AuthDisableResponse, ApiError> {
        let (header, is_enabled) = self.read_auth(|auth| Ok(auth.is_enabled())).await?;
        // Earlier versions, which check no permissions, do not know the command. So it is proposed
        // only if authentication is on.
        let header = if is_enabled {
            self.change(session, AuthCommand::Disable(request)).await?
        } else {
            header
        };
        Ok(pb::AuthDisableResponse { header })
    }

    /// Whether authentication is on, and the revision of users and roles.
    ///
    /// # Errors
    /// The client's token is not valid, or no leader answers in time.
    pub(crate) async fn auth_status(
        &self,
        session: &Session,
        _request: pb::AuthStatusRequest,
    ) -> Result<pb::AuthStatusResponse, ApiError> {
        self.authorize(session, || Needs::Nothing).await?;
        let status = |auth: &Auth| Ok((auth.is_enabled(), auth.revision()));
        let (header, (enabled, auth_revision)) = self.read_auth(status).await?;
        Ok(pb::AuthStatusResponse { header, enabled, auth_revision })
    }

    /// Gives a token for a password.
    ///
    /// # Errors
    /// Authentication is off, the user or the password is wrong, too many other clients give
    /// passwords, or the proposal fails.
    pub(crate) async fn authenticate(
        &self,
        request: pb::AuthenticateRequest,
    ) -> Result<pb::AuthenticateResponse, ApiError> {
        let pb::AuthenticateRequest { name, password } = request;
        loop {
            let found = |auth: &Auth| Ok((auth.password_of(&name)?.clone(), auth.revision()));
            let (_, (hash, revision)) = self.read_auth(found).await?;
            self.passwords().verify(password.clone(), hash).await?;
            let token = match self.tokens() {
                Tokens::Simple(_) => self.propose_token(&name, revision).await,
                Tokens::Jwt(jwt) => self.sign_token(jwt, &name, revision),
                Tokens::Disabled => Err(ApiError::AuthFailed),
            };
            match token {
                // Users or roles have changed, so the password is checked again.
                Err(ApiError::AuthOldRevision) => {}
                token => {
                    let header = Some(self.header_now());
                    return Ok(pb::AuthenticateResponse { header, token: token? });
                }
            }
        }
    }

    /// Signs a token, unless users have changed since `revision`.
    fn sign_token(&self, jwt: &Jwt, name: &str, revision: u64) -> Result<String, ApiError> {
        if self.member().store().auth_revision() != revision {
            return Err(ApiError::AuthOldRevision);
        }
        jwt.sign(name, revision).map_err(ApiError::unknown)
    }

    /// Makes a simple token valid on all members.
    async fn propose_token(&self, name: &str, revision: u64) -> Result<String, ApiError> {
        let prefix = random_letters();
        let login = Authenticate { name: name.to_owned(), prefix, revision };
        let command = Command::Authenticate(login);
        match self.propose(&command, &Grant::default(), name.len(), None).await? {
            Reply::Token(token) => Ok(token),
            other => Err(wrong_reply(&other)),
        }
    }

    /// Adds a user.
    ///
    /// # Errors
    /// The state machine refuses the change, not all members can apply it, or the proposal fails.
    pub(crate) async fn user_add(
        &self,
        session: &Session,
        mut request: pb::AuthUserAddRequest,
    ) -> Result<pb::AuthUserAddResponse, ApiError> {
        let password = std::mem::take(&mut request.password);
        if !request.options.is_some_and(|options| options.no_password) {
            request.hashed_password = self.passwords().hash(password).await?;
        }
        let header = self.change(session, AuthCommand::UserAdd(request)).await?;
        Ok(pb::AuthUserAddResponse { header })
    }

    /// Changes a user's password. Its errors are those of [`user_add`](Self::user_add).
    pub(crate) async fn user_change_password(
        &self,
        session: &Session,
        mut request: pb::AuthUserChangePasswordRequest,
    ) -> Result<pb::AuthUserChangePasswordResponse, ApiError> {
        let password = std::mem::take(&mut request.password);
        // As in etcd, a request without a password can have a hash.
        if !password.is_empty() {
            request.hashed_password = self.passwords().hash(password).await?;
        }
        let header = self.change(session, AuthCommand::UserChangePassword(request)).await?;
        Ok(pb::AuthUserChangePasswordResponse { header })
    }

    /// Deletes a user. Its errors are those of [`user_add`](Self::user_add).
    pub(crate) async fn user_delete(
        &self,
        session: &Session,
        request: pb::AuthUserDeleteRequest,
    ) -> Result<pb::AuthUserDeleteResponse, ApiError> {
        let header = self.change(session, AuthCommand::UserDelete(request)).await?;
        Ok(pb::AuthUserDeleteResponse { header })
    }

    /// Grants a role to a user. Its errors are those of [`user_add`](Self::user_add).
    pub(crate) async fn user_grant_role(
        &self,
        session: &Session,
        request: pb::AuthUserGrantRoleRequest,
    ) -> Result<pb::AuthUserGrantRoleResponse, ApiError> {
        let header = self.change(session, AuthCommand::UserGrantRole(request)).await?;
        Ok(pb::AuthUserGrantRoleResponse { header })
    }

    /// Revokes a role from a user. Its errors are those of [`user_add`](Self::user_add).
    pub(crate) async fn user_revoke_role(
        &self,
        session: &Session,
        request: pb::AuthUserRevokeRoleRequest,
    ) -> Result<pb::AuthUserRevokeRoleResponse, ApiError> {
        let header = self.change(session, AuthCommand::UserRevokeRole(request)).await?;
        Ok(pb::AuthUserRevokeRoleResponse { header })
    }

    /// Adds a role. Its errors are those of [`user_add`](Self::user_add).
    pub(crate) async fn role_add(
        &self,
        session: &Session,
        request: pb::AuthRoleAddRequest,
    ) -> Result<pb::AuthRoleAddResponse, ApiError> {
        let header = self.change(session, AuthCommand::RoleAdd(request)).await?;
        Ok(pb::AuthRoleAddResponse { header })
    }

    /// Deletes a role. Its errors are those of [`user_add`](Self::user_add).
    pub(crate) async fn role_delete(
        &self,
        session: &Session,
        request: pb::AuthRoleDeleteRequest,
    ) -> Result<pb::AuthRoleDeleteResponse, ApiError> {
        let header = self.change(session, AuthCommand::RoleDelete(request)).await?;
        Ok(pb::AuthRoleDeleteResponse { header })
    }

    /// Grants a permission to a role. Its errors are those of [`user_add`](Self::user_add).
    pub(crate) async fn role_grant_permission(
        &self,
        session: &Session,
        request: pb::AuthRoleGrantPermissionRequest,
    ) -> Result<pb::AuthRoleGrantPermissionResponse, ApiError> {
        let header = self.change(session, AuthCommand::RoleGrantPermission(request)).await?;
        Ok(pb::AuthRoleGrantPermissionResponse { header })
    }

    /// Revokes a permission from a role. Its errors are those of [`user_add`](Self::user_add).
    pub(crate) async fn role_revoke_permission(
        &self,
        session: &Session,
        request: pb::AuthRoleRevokePermissionRequest,
    ) -> Result<pb::AuthRoleRevokePermissionResponse, ApiError> {
        let header = self.change(session, AuthCommand::RoleRevokePermission(request)).await?;
        Ok(pb::AuthRoleRevokePermissionResponse { header })
    }

    /// The roles of a user. While authentication is on, the client must be that user, or have
    /// the role `root`.
    ///
    /// # Errors
    /// The user does not exist, the client does not have the right, or no leader answers in time.
    pub(crate) async fn user_get(
        &self,
        session: &Session,
        request: pb::AuthUserGetRequest,
    ) -> Result<pb::AuthUserGetResponse, ApiError> {
        let roles = |auth: &Auth| auth.roles_of(&request.name).map(<[String]>::to_vec);
        let is_own = |_: &Auth, user: &str| user == request.name;
        let (header, roles) = self.read_auth_as(session, is_own, roles).await?;
        Ok(pb::AuthUserGetResponse { header, roles })
    }

    /// The names of all users. While authentication is on, the client must have the role `root`.
    ///
    /// # Errors
    /// The client does not have the right, or no leader answers in time.
    pub(crate) async fn user_list(
        &self,
        session: &Session,
        _request: pb::AuthUserListRequest,
    ) -> Result<pb::AuthUserListResponse, ApiError> {
        let names = |auth: &Auth| Ok(auth.users().keys().cloned().collect());
        let (header, users) = self.read_auth_as(session, |_, _| false, names).await?;
        Ok(pb::AuthUserListResponse { header, users })
    }

    /// The permissions of a role. While authentication is on, the client must have that role or the
    /// role `root`.
    ///
    /// # Errors
    /// The role does not exist, the client does not have the right, or no leader answers in time.
    pub(crate) async fn role_get(
        &self,
        session: &Session,
        request: pb::AuthRoleGetRequest,
    ) -> Result<pb::AuthRoleGetResponse, ApiError> {
        let has_role = |auth: &Auth, user: &str| {
            auth.roles_of(user).is_ok_and(|roles| roles.contains(&request.role))
        };
        let permissions = |auth: &Auth| auth.permissions_of(&request.role);
        let (header, perm) = self.read_auth_as(session, has_role, permissions).await?;
        Ok(pb::AuthRoleGetResponse { header, perm })
    }

    /// The names of all roles. While authentication is on, the client must have the role `root`.
    ///
    /// # Errors
    /// The client does not have the right, or no leader answers in time.
    pub(crate) async fn role_list(
        &self,
        session: &Session,
        _request: pb::AuthRoleListRequest,
    ) -> Result<pb::AuthRoleListResponse, ApiError> {
        let names = |auth: &Auth| Ok(auth.roles().keys().cloned().collect());
        let (header, roles) = self.read_auth_as(session, |_, _| false, names).await?;
        Ok(pb::AuthRoleListResponse { header, roles })
    }

    /// Makes one change of users and roles.
    async fn change(&self, session: &Session, command: AuthCommand) -> Result<Header, ApiError> {
        let format = match &command {
            AuthCommand::Enable(_) | AuthCommand::Disable(_) => AUTH_FORMAT,
            _ => USERS_FORMAT,
        };
        let length = command.encoded_len();
        let command = Command::Auth(command);
        let grant = self.authorize(session, || Needs::of(&command)).await?;
        let is_known = self.member().store().tables(|tables| match format {
            AUTH_FORMAT => tables.auth.was_enabled(),
            _ => !tables.auth.is_unused(),
        });
        if !is_known && !self.member().all_apply(format).await? {
            return Err(ApiError::NotCapable);
        }
        match self.propose(&command, &grant, length, None).await? {
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

    /// Reads like [`read_auth`](Self::read_auth). While authentication is on, the client must be a
    /// user with the role `root`, or a user that `may` allows.
    async fn read_auth_as<T>(
        &self,
        session: &Session,
        may: impl FnOnce(&Auth, &str) -> bool,
        read: impl FnOnce(&Auth) -> Result<T, Refusal>,
    ) -> Result<(Header, T), ApiError> {
        self.member().linearize().await?;
        let grant = self.authorize(session, || Needs::Known).await?;
        let checked = |auth: &Auth| {
            match grant.origin() {
                _ if !auth.is_enabled() => {}
                Origin::User { name, .. } if may(auth, name) => {}
                Origin::User { name, .. } => auth.check_root(name)?,
                Origin::Unknown | Origin::Cluster => return Err(Refusal::UserEmpty),
            }
            read(auth)
        };
        let header = Some(self.header_now());
        let result = self.member().store().tables(|tables| checked(&tables.auth))?;
        Ok((header, result))
    }
}
