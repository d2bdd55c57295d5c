//! Leases.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use prost::Message as _;
use quorate_core::auth::{Access, Needs, Right};
use quorate_core::{Command, Error, Reply};
use quorate_proto::etcdserverpb as pb;
use quorate_raft::{Permit, Renewal};

use super::propose::wrong_reply;
use super::{Answered, leader_lost};
use crate::access::session::Session;
use crate::error::ApiError;
use crate::scan::{Client, Scanned};
use crate::server::Server;
use crate::tracer::operation::Operation;

/// A random lease id: positive, 63 bits, from the random keys of the standard library's hash
/// tables. A collision with an existing lease is practically impossible.
fn random_lease_id() -> i64 {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let id = RandomState::new().hash_one(count) >> 1;
    i64::try_from(id).expect("63 bits fit").max(1)
}

impl Server {
    /// Grants a lease.
    ///
    /// # Errors
    /// The lease exists, its TTL is too large, the client does not have the rights, the member
    /// accepts no more data, or the proposal fails.
    pub(crate) async fn lease_grant(
        &self,
        session: &Session,
        mut request: pb::LeaseGrantRequest,
    ) -> Result<pb::LeaseGrantResponse, ApiError> {
        let _span = session.span(|| Operation::lease_grant(&request));
        if request.id == 0 {
            request.id = random_lease_id();
        }
        request.ttl = request.ttl.max(self.options().min_lease_ttl);
        let command = Command::LeaseGrant(request);
        let grant = self.authorize(session, || Needs::of(&command)).await?;
        let reserved = self.member().check_quota(&command).await?;
        match self.propose(&command, &grant, request.encoded_len(), reserved).await? {
            Reply::LeaseGrant(mut response) => {
                self.fill(&mut response.header);
                Ok(response)
            }
            other => Err(wrong_reply(&other)),
        }
    }

    /// Revokes a lease, and deletes its keys.
    ///
    /// # Errors
    /// The lease does not exist, the client does not have the rights, or the proposal fails.
    pub(crate) async fn lease_revoke(
        &self,
        session: &Session,
        request: pb::LeaseRevokeRequest,
    ) -> Result<pb::LeaseRevokeResponse, ApiError> {
        let _span = session.span(|| Operation::lease_revoke(request.id));
        let length = request.encoded_len();
        let command = Command::LeaseRevoke(request);
        let grant = self.authorize(session, || Needs::of(&command)).await?;
        match self.propose(&command, &grant, length, None).await? {
            Reply::LeaseRevoke(mut response) => {
                self.fill(&mut response.header);
                Ok(response)
            }
            other => Err(wrong_reply(&other)),
        }
    }

    /// Renews the leases that a client names, one by one. The stream ends when the client's stream
    /// does, or with the first error.
    pub(crate) fn keep_alive<R>(
        &self,
        session: Session,
        requests: R,
        needs_leader: bool,
    ) -> impl Stream<Item = Result<pb::LeaseKeepAliveResponse, ApiError>> + Send + use<R>
    where
        R: Stream<Item = Result<pb::LeaseKeepAliveRequest, ApiError>> + Send + Unpin,
    {
        let lost = Box::pin(leader_lost(self.clone(), needs_leader));
        let client = (self.clone(), session);
        stream::unfold(Some((client, requests, lost)), |state| async move {
            let ((server, session), mut requests, mut lost) = state?;
            let answered = async {
                let request = tokio::select! {
                    request = requests.next() => request?,
                    () = server.stopping().cancelled() => Err(ApiError::Stopped),
                };
                match request {
                    Ok(request) => Some(server.renew(&session, request.id).await),
                    Err(error) => Some(Err(error)),
                }
            };
            let answer = tokio::select! {
                answer = answered => answer?,
                () = &mut lost => Err(ApiError::NoLeader),
            };
            let go_on = answer.is_ok().then_some(((server, session), requests, lost));
            Some((answer, go_on))
        })
    }

    async fn renew(
        &self,
        session: &Session,
        id: i64,
    ) -> Result<pb::LeaseKeepAliveResponse, ApiError> {
        let _span = session.span(|| Operation::lease_renew(id));
        let grant = self.authorize_leases(session, Access::Write, || vec![id]).await?;
        grant.still_holds(self)?;
        // The header is made before the renewal: its revision must not include a revocation that
        // the renewal has not seen.
        let header = Some(self.header_now());
        let ttl = match self.member().renew_lease(id).await? {
            Renewal::Renewed(ttl) => ttl,
            Renewal::NotFound => 0,
            Renewal::NotPrimary => return Err(ApiError::NotPrimaryLessor),
        };
        Ok(pb::LeaseKeepAliveResponse { header, id, ttl })
    }

    /// The remaining time of a lease, and its keys if the request asks for them.
    ///
    /// # Errors
    /// The client does not have the rights, no leader answers, the memory budget has no room, or
    /// the state cannot be read.
    pub(crate) async fn lease_time_to_live(
        &self,
        session: &Session,
        request: pb::LeaseTimeToLiveRequest,
    ) -> Result<Answered<pb::LeaseTimeToLiveResponse>, ApiError> {
        self.authorize(session, || Needs::Known).await?;
        let time = self.member().lease_time_to_live(request.id).await?;
        let (keys, kept) = if request.keys && time.is_some() {
            self.keys_of_lease(session, request.id).await?
        } else {
            (Vec::new(), session.account.nothing())
        };
        let message = pb::LeaseTimeToLiveResponse {
            header: Some(self.header_now()),
            id: request.id,
            ttl: time.map_or(-1, |time| time.remaining),
            granted_ttl: time.map_or(0, |time| time.granted),
            keys,
        };
        Ok(Answered { message, permit: Some(kept) })
    }

    /// The keys of a lease, all of which the client must be permitted to read.
    async fn keys_of_lease(
        &self,
        session: &Session,
        id: i64,
    ) -> Result<(Vec<Bytes>, Permit), ApiError> {
        let grant = self.authorize(session, || Needs::rights([])).await?;
        let server = self.clone();
        let origin = grant.origin().clone();
        let read = move |client: &Arc<Client>| {
            let keys = server.member().view().with_context(client.clone()).lease_keys(id)?;
            let auth = server.member().store().tables(|tables| tables.auth.clone());
            let needs = Needs::rights([Right::Lease(Access::Read, id)]);
            auth.check(&origin, &needs, |_| Ok(keys.clone()))?;
            Ok::<_, Error>(keys)
        };
        let Scanned { result, kept } = self.scans().scan(&session.account, read).await?;
        let keys = result.map_err(|error| self.read_failed(error))?;
        grant.still_holds(self)?;
        Ok((keys, kept))
    }

    /// Lists the leases.
    ///
    /// # Errors
    /// The client may not read all keys of all leases.
    pub(crate) async fn lease_leases(
        &self,
        session: &Session,
    ) -> Result<pb::LeaseLeasesResponse, ApiError> {
        let leases = self.member().leases();
        let grant = self.authorize_leases(session, Access::Read, || leases.clone()).await?;
        grant.still_holds(self)?;
        let leases = leases.into_iter().map(|id| pb::LeaseStatus { id }).collect();
        let header = Some(self.header_now());
        Ok(pb::LeaseLeasesResponse { header, leases })
    }
}
