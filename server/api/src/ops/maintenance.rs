//! The state of this member and of its data, and the transfer of the leadership.

use std::sync::Arc;
use std::time::Instant;

use prost::Message as _;
use quorate_core::auth::Needs;
use quorate_core::{Command, Reply};
use quorate_proto::etcdserverpb as pb;
use quorate_raft::{Account, MemberError, RequestError};

use super::propose::wrong_reply;
use crate::access::session::Session;
use crate::error::ApiError;
use crate::scan::Client;
use crate::server::Server;
use crate::version::{CLUSTER_VERSION, ETCD_VERSION};

fn size(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// The text of an alarm in a status, as in etcd.
fn alarm_text(alarm: &pb::AlarmMember) -> String {
    let kind = pb::AlarmType::try_from(alarm.alarm);
    let kind = kind.map_or_else(|_| alarm.alarm.to_string(), |k| k.as_str_name().to_owned());
    match alarm.member_id {
        // The id 0 stands for the whole cluster.
        0 => format!("alarm:{kind}"),
        id => format!("memberID:{id} alarm:{kind}"),
    }
}

impl Server {
    /// The state of this member.
    pub(crate) fn status(&self) -> pb::StatusResponse {
        let raft = self.member().status_now();
        let sizes = self.member().sizes();
        let alarms = self.member().store().tables(|tables| tables.raised(0));
        let mut errors = Vec::new();
        if raft.leader.is_none() {
            errors.push(ApiError::NoLeader.text().to_owned());
        }
        errors.extend(alarms.iter().map(alarm_text));
        pb::StatusResponse {
            header: Some(self.header_now()),
            version: ETCD_VERSION.to_owned(),
            db_size: size(sizes.allocated),
            leader: raft.leader.unwrap_or(0),
            raft_index: self.member().committed(),
            raft_term: raft.term,
            raft_applied_index: self.member().progress().applied(),
            errors,
            db_size_in_use: size(sizes.in_use),
            is_learner: self.member().is_learner(),
            storage_version: CLUSTER_VERSION.to_owned(),
            db_size_quota: self.member().quota().configured(),
            downgrade_info: Some(pb::DowngradeInfo::default()),
        }
    }

    /// Lists, raises or disarms alarms.
    ///
    /// # Errors
    /// The alarm is unknown, the client does not have the rights, or the proposal fails.
    pub(crate) async fn alarm(
        &self,
        session: &Session,
        request: pb::AlarmRequest,
    ) -> Result<pb::AlarmResponse, ApiError> {
        let length = request.encoded_len();
        let command = Command::Alarm(request);
        let grant = self.authorize(session, || Needs::of(&command)).await?;
        match self.propose(&command, &grant, length, None).await? {
            Reply::Alarm(mut response) => {
                self.fill(&mut response.header);
                Ok(response)
            }
            other => Err(wrong_reply(&other)),
        }
    }

    /// Rewrites this member's database without its free space.
    ///
    /// # Errors
    /// The database cannot be rewritten, for instance because the disk has no room.
    pub(crate) async fn defragment(&self) -> Result<pb::DefragmentResponse, ApiError> {
        self.member().flush().await;
        let done = self.member().defragment().await;
        done.map_err(ApiError::unknown)?;
        Ok(pb::DefragmentResponse { header: None })
    }

    /// A checksum of this member's whole state.
    ///
    /// # Errors
    /// The memory budget has no room, or the state cannot be read.
    pub(crate) async fn hash(&self, account: &Account) -> Result<pb::HashResponse, ApiError> {
        let server = self.clone();
        let hash = move |client: &Arc<Client>| {
            let started = Instant::now();
            let view = server.member().view().with_context(client.clone());
            let keys = view.hash_kv(0).map_err(|error| server.read_failed(error))?;
            let tables = server.member().store().tables(|tables| tables.checksum(keys.hash));
            server.metrics().hash.observe(started.elapsed().as_secs_f64());
            Ok::<_, ApiError>((tables, view.revision()))
        };
        let (hash, revision) = self.scans().scan(account, hash).await?.result?;
        let header = Some(self.header(revision));
        Ok(pb::HashResponse { header, hash })
    }

    /// The hash of this member's keys at a revision, computed as in etcd.
    ///
    /// # Errors
    /// The revision is compacted or in the future, the memory budget has no room, or the state
    /// cannot be read.
    pub(crate) async fn hash_kv(
        &self,
        account: &Account,
        request: pb::HashKvRequest,
    ) -> Result<pb::HashKvResponse, ApiError> {
        let server = self.clone();
        let hash = move |client: &Arc<Client>| {
            let started = Instant::now();
            let view = server.member().view().with_context(client.clone());
            let hash = view.hash_kv(request.revision).map_err(|error| server.read_failed(error))?;
            server.metrics().hash_rev.observe(started.elapsed().as_secs_f64());
            Ok::<_, ApiError>((hash, view.revision()))
        };
        let (hash, revision) = self.scans().scan(account, hash).await?.result?;
        Ok(pb::HashKvResponse {
            header: Some(self.header(revision)),
            hash: hash.hash,
            compact_revision: hash.compact_revision,
            hash_revision: hash.revision,
        })
    }

    /// Transfers the leadership.
    ///
    /// # Errors
    /// This member does not lead, the other member cannot lead, or the transfer takes too long.
    pub(crate) async fn move_leader(
        &self,
        request: pb::MoveLeaderRequest,
    ) -> Result<pb::MoveLeaderResponse, ApiError> {
        match self.member().move_leader(request.target_id).await {
            Ok(()) => Ok(pb::MoveLeaderResponse::default()),
            Err(MemberError::Request(RequestError::Timeout)) => {
                Err(ApiError::LeaderTransferTimeout)
            }
            Err(error) => Err(error.into()),
        }
    }
}
