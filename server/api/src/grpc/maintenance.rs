//! The Maintenance service.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use futures_util::Stream;
use prost::Message;
use quorate_core::{Command, Reply};
use quorate_proto::etcdserverpb as pb;
use quorate_raft::{MemberError, RequestError};
use tonic::{Code, Request, Response, Status};

use super::account_of;
use super::kv::wrong_reply;
use super::stubs::maintenance_server::Maintenance;
use crate::error::{ApiError, status};
use crate::scan::Client;
use crate::server::Server;
use crate::version::{CLUSTER_VERSION, ETCD_VERSION};

/// The Maintenance service of a server.
pub(crate) struct MaintenanceService(pub(crate) Server);

type SnapshotStream = Pin<Box<dyn Stream<Item = Result<pb::SnapshotResponse, Status>> + Send>>;

fn size(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// The text of an alarm in a status, as in etcd.
fn alarm_text(alarm: &pb::AlarmMember) -> String {
    let kind = pb::AlarmType::try_from(alarm.alarm);
    let kind = kind.map_or_else(|_| alarm.alarm.to_string(), |k| k.as_str_name().to_owned());
    format!("memberID:{} alarm:{kind}", alarm.member_id)
}

impl Server {
    fn status(&self) -> pb::StatusResponse {
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
}

#[tonic::async_trait]
impl Maintenance for MaintenanceService {
    async fn alarm(
        &self,
        request: Request<pb::AlarmRequest>,
    ) -> Result<Response<pb::AlarmResponse>, Status> {
        let request = request.into_inner();
        let length = request.encoded_len();
        match self.0.propose(&Command::Alarm(request), length).await? {
            Reply::Alarm(mut response) => {
                self.0.fill(&mut response.header);
                Ok(Response::new(response))
            }
            other => Err(wrong_reply(&other)),
        }
    }

    async fn status(
        &self,
        _request: Request<pb::StatusRequest>,
    ) -> Result<Response<pb::StatusResponse>, Status> {
        Ok(Response::new(self.0.status()))
    }

    async fn defragment(
        &self,
        _request: Request<pb::DefragmentRequest>,
    ) -> Result<Response<pb::DefragmentResponse>, Status> {
        self.0.member().flush().await;
        let done = self.0.member().defragment().await;
        done.map_err(|error| Status::new(Code::Unknown, error.to_string()))?;
        Ok(Response::new(pb::DefragmentResponse { header: None }))
    }

    async fn hash(
        &self,
        request: Request<pb::HashRequest>,
    ) -> Result<Response<pb::HashResponse>, Status> {
        let server = self.0.clone();
        let hash = move |client: &Arc<Client>| {
            let started = Instant::now();
            let view = server.member().view().patient(client.clone());
            let keys = view.hash_kv(0).map_err(|error| server.read_failed(error))?;
            let tables = server.member().store().tables(|tables| tables.checksum(keys.hash));
            server.metrics().hash.observe(started.elapsed().as_secs_f64());
            Ok::<_, Status>((tables, view.revision()))
        };
        let (hash, revision) = self.0.scan(&account_of(&request), hash).await?.result?;
        let header = Some(self.0.header(revision));
        Ok(Response::new(pb::HashResponse { header, hash }))
    }

    async fn hash_kv(
        &self,
        request: Request<pb::HashKvRequest>,
    ) -> Result<Response<pb::HashKvResponse>, Status> {
        let account = account_of(&request);
        let request = request.into_inner();
        let server = self.0.clone();
        let hash = move |client: &Arc<Client>| {
            let started = Instant::now();
            let view = server.member().view().patient(client.clone());
            let hash = view.hash_kv(request.revision).map_err(|error| server.read_failed(error))?;
            server.metrics().hash_rev.observe(started.elapsed().as_secs_f64());
            Ok::<_, Status>((hash, view.revision()))
        };
        let (hash, revision) = self.0.scan(&account, hash).await?.result?;
        let response = pb::HashKvResponse {
            header: Some(self.0.header(revision)),
            hash: hash.hash,
            compact_revision: hash.compact_revision,
            hash_revision: hash.revision,
        };
        Ok(Response::new(response))
    }

    type SnapshotStream = SnapshotStream;

    async fn snapshot(
        &self,
        _request: Request<pb::SnapshotRequest>,
    ) -> Result<Response<SnapshotStream>, Status> {
        Err(Status::unimplemented("etcdserver: this version does not send snapshots"))
    }

    async fn move_leader(
        &self,
        request: Request<pb::MoveLeaderRequest>,
    ) -> Result<Response<pb::MoveLeaderResponse>, Status> {
        match self.0.member().move_leader(request.into_inner().target_id).await {
            Ok(()) => Ok(Response::new(pb::MoveLeaderResponse::default())),
            Err(MemberError::Request(RequestError::Timeout)) => {
                Err(Status::unknown("etcdserver: request timed out, leader transfer took too long"))
            }
            Err(error) => Err(status(error)),
        }
    }

    async fn downgrade(
        &self,
        _request: Request<pb::DowngradeRequest>,
    ) -> Result<Response<pb::DowngradeResponse>, Status> {
        Err(Status::unimplemented("etcdserver: this version has no earlier one to go back to"))
    }
}
