//! A minimal etcd client for the discovery service: get, put and watch.

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

use crate::config::Discovery;
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

/// A client that switches to the next endpoint when one fails.
pub(super) struct Client<'a> {
    service: &'a Discovery,
    channels: Vec<Channel>,
    /// Index of the endpoint in use.
    at: usize,
    /// The user's authentication token, once there is one.
    token: Option<MetadataValue<Ascii>>,
}

impl<'a> Client<'a> {
    /// A client that connects when it is first used.
    ///
    /// # Errors
    /// A certificate file cannot be read or used.
    pub(super) fn new(service: &'a Discovery) -> Result<Self, TlsError> {
        let dialer = Dialer::new(service.tls.clone())?;
        let channels = service.endpoints.iter().map(|url| {
            let connector = Connector { dialer: dialer.clone(), url: url.clone() };
            // The connector knows the address; this URL only sets the `:authority` header.
            let authority = format!("http://{}", url.authority());
            let endpoint = Endpoint::from_shared(authority)
                .unwrap_or_else(|_| Endpoint::from_static("http://localhost"));
            endpoint
                .connect_timeout(service.dial_timeout)
                .http2_keep_alive_interval(service.ping_interval)
                .keep_alive_timeout(service.ping_timeout)
                .connect_with_connector_lazy(connector)
        });
        let channels = channels.collect();
        Ok(Self { service, channels, at: 0, token: None })
    }

    /// Reads a key, or all keys with this prefix. The read is linearizable.
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
        let key = key.to_owned().into();
        let value = value.to_owned().into();
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

    /// Watches all keys with the prefix `key`, from `revision` on.
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

    /// Switches to the next endpoint; returns the failure of the current one.
    fn next(&mut self, failed: Status) -> Status {
        self.at = (self.at + 1) % self.channels.len().max(1);
        // The token may have expired, or be unknown to the next endpoint.
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
        let within = self.service.request_timeout;
        let late = |_| Status::deadline_exceeded(format!("no answer within {within:?}"));
        tokio::time::timeout(within, call).await.map_err(late)?
    }

    /// Adds the user's token to a request, if a user is configured. Authenticates first if there is
    /// no token.
    async fn signed<T>(&mut self, request: T) -> Result<Request<T>, Status> {
        let mut request = Request::new(request);
        let Some((name, password)) = &self.service.user else { return Ok(request) };
        let token = match &self.token {
            Some(token) => token.clone(),
            None => {
                let name = name.clone();
                let password = password.clone();
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
                    // As in etcd's client: authentication is disabled, so no token is needed.
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

/// The error of a client without endpoints.
fn nowhere() -> Status {
    Status::unavailable("there is no endpoint")
}

/// The end of the range of all keys with the prefix `key`.
fn end_of(key: &str) -> Vec<u8> {
    let mut end = key.as_bytes().to_vec();
    // UTF-8 has no byte 0xff, so the last byte can always be incremented.
    if let Some(last) = end.last_mut() {
        *last = last.saturating_add(1);
    }
    end
}

/// An open watch.
pub(super) struct Watch {
    responses: Streaming<WatchResponse>,
    /// Keeps the request stream open.
    _requests: mpsc::Sender<WatchRequest>,
}

impl Watch {
    /// The events of the next response; may be empty.
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
