//! The headers of every call to a member, and the conclusions from its response.

use std::sync::Arc;
use std::task::{Context, Poll};

use quorate_core::store::Shared;
use quorate_proto::peer::peer_client::PeerClient;
use quorate_storage::data_dir::Identity;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Request, Status};

use super::channel_state::ChannelState;
use super::header;
use super::refusal::note_exclusion;
use crate::ground::consensus::BoxFuture;
use crate::ground::exclusion::Notice;

/// A client of another member.
pub(crate) type Client = PeerClient<ObservedCalls>;

/// Adds the ids of the cluster, the caller and the receiver to each call.
#[derive(Clone)]
pub(crate) struct IdentityHeaders {
    cluster: MetadataValue<Ascii>,
    from: MetadataValue<Ascii>,
    to: u64,
    store: Arc<Shared>,
}

impl IdentityHeaders {
    pub(super) fn new(identity: &Identity, to: u64, store: Arc<Shared>) -> Self {
        Self {
            cluster: value(format!("{:x}", identity.cluster_id)),
            from: value(format!("{:x}.{:x}", identity.member_id, identity.incarnation)),
            to,
            store,
        }
    }
}

fn value(text: String) -> MetadataValue<Ascii> {
    text.parse().expect("digits and dots are a header's value")
}

impl Interceptor for IdentityHeaders {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let headers = request.metadata_mut();
        headers.insert(header::CLUSTER, self.cluster.clone());
        headers.insert(header::FROM, self.from.clone());
        // A member that lost its data must not answer in place of the one that voted and stored.
        let incarnation = self
            .store
            .tables(|tables| tables.members.get(&self.to).map_or(0, |member| member.incarnation));
        headers.insert(header::TO, value(format!("{:x}.{incarnation:x}", self.to)));
        Ok(request)
    }
}

/// Learns from each response whether the member is reachable, and whether the cluster has excluded
/// this member.
#[derive(Clone)]
pub(crate) struct ObservedCalls {
    pub(super) calls: InterceptedService<Channel, IdentityHeaders>,
    /// `None` if the channel is not proven: any program may answer there.
    pub(super) notice: Option<Notice>,
    pub(super) state: Arc<ChannelState>,
}

type Call = http::Request<tonic::body::Body>;
type Calls = InterceptedService<Channel, IdentityHeaders>;

impl tower_service::Service<Call> for ObservedCalls {
    type Response = <Calls as tower_service::Service<Call>>::Response;
    type Error = <Calls as tower_service::Service<Call>>::Error;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        tower_service::Service::<Call>::poll_ready(&mut self.calls, context)
    }

    fn call(&mut self, call: Call) -> Self::Future {
        let answered = self.calls.call(call);
        let notice = self.notice.clone();
        let state = self.state.clone();
        Box::pin(async move {
            let answer = answered.await.inspect_err(|_| state.broken())?;
            // A refused call has its gRPC status in the response headers.
            let status = Status::from_header_map(answer.headers());
            state.answered(status.as_ref(), answer.status().is_success());
            if let (Some(notice), Some(status)) = (notice, status) {
                note_exclusion(&notice, &status);
            }
            Ok(answer)
        })
    }
}
