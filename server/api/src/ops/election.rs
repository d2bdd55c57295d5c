//! Elections. The oldest claim leads, and its value is the one that the leader has proclaimed.

mod observe;

use bytes::Bytes;
use quorate_proto::etcdserverpb as pb;
use quorate_proto::v3electionpb::{
    CampaignRequest, CampaignResponse, LeaderKey, LeaderRequest, LeaderResponse, ProclaimRequest,
    ProclaimResponse, ResignRequest, ResignResponse,
};

use super::Answered;
use super::claims::withdrawal::Withdrawal;
use super::claims::{deletion, is_created_at, oldest, prefix, putting, row, transaction};
use crate::access::session::Session;
use crate::error::ApiError;
use crate::server::Server;

/// Deletes the key of a claim if the claim has not ended: the key still has this create revision.
fn resignation(key: &Bytes, revision: i64) -> pb::TxnRequest {
    transaction(vec![is_created_at(key, revision)], vec![deletion(key)])
}

impl Server {
    /// Waits until the caller leads. If the client leaves during the wait, its claim is withdrawn.
    /// If the wait fails, the claim stays. If the lease already has a claim with another value,
    /// and that value cannot be replaced, the claim is withdrawn if possible.
    ///
    /// # Errors
    /// The lease does not exist, or ended meanwhile; or a write, a read or the watch fails.
    pub(crate) async fn campaign(
        &self,
        session: &Session,
        request: CampaignRequest,
    ) -> Result<CampaignResponse, ApiError> {
        self.win(session, request).await.map_err(ApiError::without_code)
    }

    async fn win(
        &self,
        session: &Session,
        request: CampaignRequest,
    ) -> Result<CampaignResponse, ApiError> {
        let CampaignRequest { name, lease, value } = request;
        let lease = self.lease_of(session, lease).await?;
        let (claim, answered) = self.claim(session, &name, lease, value.clone(), None).await?;
        let Answered { message, permit } = answered;
        if row(&message, 0).is_some_and(|older| older.value != value) {
            let proclaimed = self.put_value(session, &claim.key, claim.revision, lease, value);
            if let Err(error) = proclaimed.await {
                // The client gets the first error, whether or not this succeeds.
                self.txn(session, resignation(&claim.key, claim.revision)).await.ok();
                return Err(error);
            }
        }
        drop(permit);
        let withdraw = resignation(&claim.key, claim.revision);
        let mut withdrawal = Withdrawal::new(self, session, withdraw);
        let turn = self.await_turn(session, &claim).await;
        withdrawal.disarm();
        turn?.ok_or(ApiError::NotElected)?;
        let leader = LeaderKey { name, key: claim.key, rev: claim.revision, lease };
        Ok(CampaignResponse { header: message.header, leader: Some(leader) })
    }

    /// Puts the value of a claim, and returns the header of the answer. Fails with `NotElected` if
    /// the claim has ended.
    async fn put_value(
        &self,
        session: &Session,
        key: &Bytes,
        revision: i64,
        lease: i64,
        value: Bytes,
    ) -> Result<Option<pb::ResponseHeader>, ApiError> {
        let put = vec![putting(key, value, lease)];
        let put = transaction(vec![is_created_at(key, revision)], put);
        let Answered { message, .. } = self.txn(session, put).await?;
        if message.succeeded { Ok(message.header) } else { Err(ApiError::NotElected) }
    }

    /// Replaces the value of the leader.
    ///
    /// # Errors
    /// The caller does not lead, the request has no leader, or the write fails.
    pub(crate) async fn proclaim(
        &self,
        session: &Session,
        request: ProclaimRequest,
    ) -> Result<ProclaimResponse, ApiError> {
        let leader = request.leader.ok_or(ApiError::MissingLeaderKey)?;
        let proclaimed = async {
            let lease = self.lease_of(session, leader.lease).await?;
            self.put_value(session, &leader.key, leader.rev, lease, request.value).await
        };
        let header = proclaimed.await.map_err(ApiError::without_code)?;
        Ok(ProclaimResponse { header })
    }

    /// The leader of an election.
    ///
    /// # Errors
    /// There is no leader, or the read fails.
    pub(crate) async fn election_leader(
        &self,
        session: &Session,
        request: LeaderRequest,
    ) -> Result<Answered<LeaderResponse>, ApiError> {
        let read = self.first_rows(session, vec![oldest(&prefix(&request.name))]).await;
        let Answered { message, permit } = read.map_err(ApiError::without_code)?;
        let kv = Some(row(&message, 0).ok_or(ApiError::NoElectionLeader)?.clone());
        Ok(Answered { message: LeaderResponse { header: message.header, kv }, permit })
    }

    /// Ends a leadership or a candidacy.
    ///
    /// # Errors
    /// The request has no leader, or the write fails.
    pub(crate) async fn resign(
        &self,
        session: &Session,
        request: ResignRequest,
    ) -> Result<ResignResponse, ApiError> {
        let leader = request.leader.ok_or(ApiError::MissingLeaderKey)?;
        let resigned = async {
            self.lease_of(session, leader.lease).await?;
            self.txn(session, resignation(&leader.key, leader.rev)).await
        };
        let header = resigned.await.map_err(ApiError::without_code)?.message.header;
        Ok(ResignResponse { header })
    }
}
