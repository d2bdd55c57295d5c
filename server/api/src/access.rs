//! Authorisation: which user a client is, and whether it may make a request. While authentication
//! is off, every check here is one atomic load.
//!
//! ```text
//!   headers --> admit --> Session --> authorize --> Grant --> the proposal, checked again when
//!                                         ^           |       it is applied
//!                    needs of the request +           +-----> the read, and then still_holds
//! ```
//!
//! `quorate_core::auth` decides which rights a request needs and whether a user has them.

pub(crate) mod grant;
pub(crate) mod session;

use std::sync::Arc;
use std::time::Instant;

use http::HeaderMap;
use quorate_core::auth::{Access, Needs, Origin, Right};

use self::grant::Grant;
use self::session::{Credentials, Identity, Login, Session};
use crate::error::ApiError;
use crate::method::{Method, MethodKind, Permission, Route};
use crate::scan::Client;
use crate::server::Server;

/// Whether a call can last longer than a token. Then the identity of the client is established
/// again for each part of the call.
fn is_long(method: &Method) -> bool {
    method.kind != MethodKind::Unary || matches!(method.route, Route::Lock | Route::Election)
}

impl Server {
    /// Establishes the identity of the client of a call. Refuses an unknown client if the method
    /// demands a known one, and a client without the role `root` if the method demands the role.
    /// The operation checks all other rights.
    ///
    /// # Errors
    /// The token is not valid, the client is unknown, or it has no right to call the method.
    pub(crate) async fn admit(
        &self,
        method: &Method,
        headers: &HeaderMap,
        common_name: Option<&Arc<str>>,
    ) -> Result<Login, ApiError> {
        let is_on = self.member().store().auth_revision() != 0;
        if !is_on && !is_long(method) {
            return Ok(Login::default());
        }
        let login = Login::new(Credentials::of(headers, common_name));
        if !is_on {
            return Ok(login);
        }
        let admitted = Box::pin(self.admit_known(method, login)).await;
        match method.route {
            Route::Lock | Route::Election => admitted.map_err(ApiError::without_code),
            _ => admitted,
        }
    }

    async fn admit_known(&self, method: &Method, mut login: Login) -> Result<Login, ApiError> {
        let needs = match method.permission {
            Permission::Nothing => return Ok(login),
            // As in etcd, the stream begins for every client, and its requests are checked.
            _ if method.route == Route::Watch => return Ok(login),
            Permission::User | Permission::Keys => Needs::Known,
            Permission::Root => Needs::Root,
        };
        if !is_long(method) {
            login.identity = self.identify(&login.credentials).await?;
        }
        self.check_login(&login, &needs).await?;
        Ok(login)
    }

    /// Checks that the client of a session may make a request that demands `needs`. Does not check
    /// the keys of leases: the state machine does, when it applies the command.
    ///
    /// # Errors
    /// The token is not valid, the client is unknown, or it does not have the rights.
    pub(crate) async fn authorize(
        &self,
        session: &Session,
        needs: impl FnOnce() -> Needs,
    ) -> Result<Grant, ApiError> {
        if self.member().store().auth_revision() == 0 {
            return Ok(Grant::default());
        }
        Box::pin(self.authorize_as(session, needs())).await
    }

    async fn authorize_as(&self, session: &Session, needs: Needs) -> Result<Grant, ApiError> {
        self.check_login(&session.login, &needs).await.map(Grant::new)
    }

    /// Checks that the client of a session has access to all keys of these leases.
    ///
    /// # Errors
    /// Those of [`authorize`](Self::authorize); or the memory budget has no room, or the state
    /// cannot be read.
    pub(crate) async fn authorize_leases(
        &self,
        session: &Session,
        access: Access,
        leases: impl FnOnce() -> Vec<i64>,
    ) -> Result<Grant, ApiError> {
        if self.member().store().auth_revision() == 0 {
            return Ok(Grant::default());
        }
        Box::pin(self.authorize_keys_of(session, access, leases())).await
    }

    async fn authorize_keys_of(
        &self,
        session: &Session,
        access: Access,
        leases: Vec<i64>,
    ) -> Result<Grant, ApiError> {
        let grant = self.authorize_as(session, Needs::rights([])).await?;
        let auth = self.member().store().tables(|tables| tables.auth.clone());
        if let Origin::User { name, .. } = grant.origin()
            && auth.is_root(name)
        {
            return Ok(grant);
        }
        let needs = Needs::rights(leases.into_iter().map(|lease| Right::Lease(access, lease)));
        let server = self.clone();
        let origin = grant.origin().clone();
        let check = move |client: &Arc<Client>| {
            let view = server.member().view().with_context(client.clone());
            auth.check(&origin, &needs, |lease| view.lease_keys(lease))
        };
        let checked = self.scans().scan(&session.account, check).await?;
        checked.result.map_err(|error| self.read_failed(error))?;
        Ok(grant)
    }

    /// The client of a login, as the author of its proposals.
    ///
    /// # Errors
    /// The token is not valid.
    pub(crate) async fn origin_of(&self, login: &Login) -> Result<Origin, ApiError> {
        let revision = self.member().store().auth_revision();
        // After a change of users or roles, the token may have ended, so it is verified again.
        let known = login.identity.as_ref().filter(|known| known.revision == revision);
        if let Some(identity) = known {
            return Ok(Origin::from(identity));
        }
        let identity = self.identify(&login.credentials).await?;
        Ok(identity.as_ref().map_or(Origin::Unknown, Origin::from))
    }

    /// Checks the rights of a client with the users and roles that this member knows. If the rights
    /// do not suffice, checks them again after all acknowledged changes.
    async fn check_login(&self, login: &Login, needs: &Needs) -> Result<Origin, ApiError> {
        let origin = self.origin_of(login).await?;
        match self.check(&origin, needs) {
            Err(ApiError::PermissionDenied | ApiError::UserNotFound) => {}
            checked => return checked.map(|()| origin),
        }
        // Without a leader, the rights that this member knows decide.
        self.member().linearize().await.ok();
        let origin = self.origin_of(login).await?;
        self.check(&origin, needs).map(|()| origin)
    }

    /// Checks rights, except those on the keys of leases.
    fn check(&self, origin: &Origin, needs: &Needs) -> Result<(), ApiError> {
        let auth = self.member().store().tables(|tables| tables.auth.clone());
        let checked = auth.check(origin, needs, |_| Ok(Vec::new()));
        checked.map_err(|error| self.read_failed(error))
    }

    /// The identity of a client, by its token or else by its certificate; `None` if it has neither.
    async fn identify(&self, shown: &Credentials) -> Result<Option<Identity>, ApiError> {
        let Credentials { token, common_name } = shown;
        // Read before the token is verified: a change from now on makes the identity too old.
        let revision = self.member().store().auth_revision();
        let Some(token) = token else {
            let name = common_name.clone();
            return Ok(name.map(|name| Identity { name, revision }));
        };
        let token = token.to_str().map_err(|_| ApiError::InvalidAuthToken)?;
        let token = token.strip_prefix("Bearer ").unwrap_or(token);
        let proven = match self.tokens().verify(token, Instant::now()) {
            Some(proven) => proven,
            None => {
                self.await_login(token).await;
                let proven = self.tokens().verify(token, Instant::now());
                proven.ok_or(ApiError::InvalidAuthToken)?
            }
        };
        if proven.revision.is_some_and(|proven| proven > revision) {
            // Another member gave the token, and this member lags behind.
            self.member().linearize().await?;
        }
        let revision = proven.revision.unwrap_or(revision);
        Ok(Some(Identity { name: proven.user, revision }))
    }

    /// Waits until this member has applied the entry that gave a token: another member may have
    /// given it just now. Gives up after the time limit of a request.
    async fn await_login(&self, token: &str) {
        let Some(index) = self.tokens().entry_of(token) else { return };
        let progress = self.member().progress();
        if progress.applied() < index {
            let within = self.member().request_timeout();
            tokio::time::timeout(within, progress.reach(index)).await.ok();
        }
    }
}
