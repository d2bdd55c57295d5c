//! A client of the discovery service: as much of etcd's as it takes to read, write and watch.

use std::error::Error as _;
use std::io;
use std::task::{Context, Poll};

use http::Uri;
use hyper_util::rt::TokioIo;
use quorate_proto::etcdserverpb::auth_client::AuthClient;
use quorate_proto::etcdserverpb::kv_client::KvClient;
use quorate_proto::etcdserverpb::watch_client::WatchClient;
use quorate_proto::etcdserverpb::watch_request::RequestUnion;
use quorate_proto::etcdserverpb::{
    AuthenticateRequest, PutRequest, RangeRequest, RangeResponse, WatchCreateRequest, WatchRequest,
    WatchResponse,
};
use quorate_proto::mvccpb::Event;
use quorate_raft::{BoxFuture, Connection};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status, Streaming};

use crate::config::Registry;
use crate::config::url::Url;
use crate::dial::Dialer;
use crate::tls::TlsError;

/// Opens connections to one endpoint.
#[derive(Clone)]
struct Connector {
    dialer: Dialer,
    url: Url,
}

impl tower_service::Service<Uri> for Connector {
    type Response = TokioIo<Box<dyn Connection>>;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Self::Response>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let Self { dialer, url } = self.clone();
        Box::pin(async move { dialer.connect(&url).await.map(TokioIo::new) })
    }
}

/// What lies at the bottom of a failure: what tonic says itself is "transport error".
pub(super) fn reason(status: &Status) -> String {
    let mut text = status.message().to_owned();
    let mut cause = status.source();
    while let Some(error) = cause {
        text = error.to_string();
        cause = error.source();
    }
    text
}

/// A client that goes from one endpoint to the next when one fails.
pub(super) struct Client<'a> {
    registry: &'a Registry,
    channels: Vec<Channel>,
    /// The endpoint that answered last.
    at: usize,
    /// What proves who the user is.
    token: Option<MetadataValue<Ascii>>,
}

impl<'a> Client<'a> {
    /// A client that connects when it is used.
    ///
    /// # Errors
    /// What is wrong with the certificates.
    pub(super) fn new(registry: &'a Registry) -> Result<Self, TlsError> {
        let dialer = Dialer::new(registry.tls.clone())?;
        let channels = registry.endpoints.iter().map(|url| {
            let connector = Connector { dialer: dialer.clone(), url: url.clone() };
            // The connector knows where to go; the authority is what the service may look at.
            let authority = format!("http://{}", url.authority());
            let endpoint = Endpoint::from_shared(authority)
                .unwrap_or_else(|_| Endpoint::from_static("http://localhost"));
            endpoint
                .connect_timeout(registry.dial_timeout)
                .http2_keep_alive_interval(registry.ping_interval)
                .keep_alive_timeout(registry.ping_timeout)
                .connect_with_connector_lazy(connector)
        });
        let channels = channels.collect();
        Ok(Self { registry, channels, at: 0, token: None })
    }

    /// The value of a key, or all keys that begin with it. Linearizable.
    pub(super) async fn get(&mut self, key: &str, prefix: bool) -> Result<RangeResponse, Status> {
        let range_end = if prefix { end_of(key).into() } else { Default::default() };
        let request = RangeRequest { key: key.to_owned().into(), range_end, ..Default::default() };
        let mut failed = None;
        for _ in 0..self.channels.len() {
            match self.try_get(request.clone()).await {
                Ok(response) => return Ok(response),
                Err(status) => failed = Some(self.next(status)),
            }
        }
        Err(failed.unwrap_or_else(nowhere))
    }

    /// Sets a key.
    pub(super) async fn put(&mut self, key: &str, value: &str) -> Result<(), Status> {
        let (key, value) = (key.to_owned().into(), value.to_owned().into());
        let request = PutRequest { key, value, ..Default::default() };
        let mut failed = None;
        for _ in 0..self.channels.len() {
            match self.try_put(request.clone()).await {
                Ok(()) => return Ok(()),
                Err(status) => failed = Some(self.next(status)),
            }
        }
        Err(failed.unwrap_or_else(nowhere))
    }

    /// Watches all keys that begin with `key`, from a revision on.
    pub(super) async fn watch(&mut self, key: &str, revision: i64) -> Result<Watch, Status> {
        let create = WatchCreateRequest {
            key: key.to_owned().into(),
            range_end: end_of(key).into(),
            start_revision: revision,
            ..Default::default()
        };
        let mut failed = None;
        for _ in 0..self.channels.len() {
            match self.try_watch(create.clone()).await {
                Ok(watch) => return Ok(watch),
                Err(status) => failed = Some(self.next(status)),
            }
        }
        Err(failed.unwrap_or_else(nowhere))
    }

    /// Leaves the endpoint that failed.
    fn next(&mut self, failed: Status) -> Status {
        self.at = (self.at + 1) % self.channels.len().max(1);
        // A token may be too old, or another member's.
        self.token = None;
        failed
    }

    async fn try_get(&mut self, request: RangeRequest) -> Result<RangeResponse, Status> {
        let request = self.signed(request).await?;
        let mut client = KvClient::new(self.channel());
        Ok(self.in_time(client.range(request)).await?.into_inner())
    }

    async fn try_put(&mut self, request: PutRequest) -> Result<(), Status> {
        let request = self.signed(request).await?;
        let mut client = KvClient::new(self.channel());
        self.in_time(client.put(request)).await.map(drop)
    }

    async fn try_watch(&mut self, create: WatchCreateRequest) -> Result<Watch, Status> {
        let (requests, outgoing) = mpsc::channel(1);
        let create = WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
        requests.try_send(create).map_err(|error| Status::internal(error.to_string()))?;
        let outgoing = self.signed(ReceiverStream::new(outgoing)).await?;
        let mut client = WatchClient::new(self.channel());
        let responses = self.in_time(client.watch(outgoing)).await?.into_inner();
        Ok(Watch { responses, _requests: requests })
    }

    fn channel(&self) -> Channel {
        self.channels[self.at].clone()
    }

    async fn in_time<T>(&self, call: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
        let within = self.registry.request_timeout;
        let late = |_| Status::deadline_exceeded(format!("no answer within {within:?}"));
        tokio::time::timeout(within, call).await.map_err(late)?
    }

    /// A request that says who asks, if somebody in particular does.
    async fn signed<T>(&mut self, request: T) -> Result<Request<T>, Status> {
        let mut request = Request::new(request);
        let Some((name, password)) = &self.registry.user else { return Ok(request) };
        let token = match &self.token {
            Some(token) => token.clone(),
            None => {
                let (name, password) = (name.clone(), password.clone());
                let mut client = AuthClient::new(self.channel());
                let call = client.authenticate(AuthenticateRequest { name, password });
                match self.in_time(call).await {
                    Ok(response) => {
                        let token = response.into_inner().token;
                        let token = token.parse::<MetadataValue<Ascii>>();
                        let token = token.map_err(|error| Status::internal(error.to_string()))?;
                        self.token = Some(token.clone());
                        token
                    }
                    // As etcd's client: a service without users serves anybody.
                    Err(status) if status.code() == Code::FailedPrecondition => {
                        return Ok(request);
                    }
                    Err(status) => return Err(status),
                }
            }
        };
        request.metadata_mut().insert("token", token);
        Ok(request)
    }
}

fn nowhere() -> Status {
    Status::unavailable("there is no endpoint")
}

/// The key behind all that begin with `key`.
fn end_of(key: &str) -> Vec<u8> {
    let mut end = key.as_bytes().to_vec();
    // A key that is text ends in no byte that cannot be counted up.
    if let Some(last) = end.last_mut() {
        *last = last.saturating_add(1);
    }
    end
}

/// A watch under way.
pub(super) struct Watch {
    responses: Streaming<WatchResponse>,
    /// The stream lives as long as this.
    _requests: mpsc::Sender<WatchRequest>,
}

impl Watch {
    /// The next events; there may be none.
    pub(super) async fn next(&mut self) -> Result<Vec<Event>, Status> {
        match self.responses.message().await? {
            Some(response) if response.canceled => {
                Err(Status::aborted(format!("the watch was cancelled: {}", response.cancel_reason)))
            }
            Some(response) => Ok(response.events),
            None => Err(Status::unavailable("the watch has ended")),
        }
    }
}
