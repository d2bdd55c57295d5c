//! A client of one member, which records the outcome of its requests.

use std::error::Error;
use std::io;
use std::time::Duration;

use quorate_proto::etcdserverpb::kv_client::KvClient;
use quorate_proto::etcdserverpb::lease_client::LeaseClient;
use quorate_proto::etcdserverpb::maintenance_client::MaintenanceClient;
use quorate_proto::etcdserverpb::{
    DefragmentRequest, LeaseKeepAliveRequest, LeaseKeepAliveResponse, LeaseLeasesRequest,
    RangeRequest, RangeResponse, StatusRequest,
};
use quorate_test_support::client::{MESSAGE_BYTES_MAX, channel};
use tonic::transport::Channel;
use tonic::{Code, Response as Answer, Status};

use crate::history::{Clock, Operation, Outcome, Request, Response};

/// How long a client waits for a response. Only a member that hangs takes this long.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);
/// One range in this many is sent as a `RangeStream` request, as API servers do.
const STREAMED_EVERY: u64 = 4;
/// The prefix of every error of a member; other errors come from the connection.
const REFUSAL: &str = "etcdserver: ";

/// A client of one member, with one connection.
#[derive(Clone, Debug)]
pub struct Client {
    id: u64,
    member: usize,
    clock: Clock,
    patience: Duration,
    kv: KvClient<Channel>,
    lease: LeaseClient<Channel>,
    maintenance: MaintenanceClient<Channel>,
}

impl Client {
    /// Client number `id` of member number `member` at `url`. It connects at its first request.
    ///
    /// # Panics
    /// Outside of a runtime.
    pub fn new(id: u64, member: usize, url: &str, clock: &Clock) -> Self {
        let channel = channel(url);
        Self {
            id,
            member,
            clock: clock.clone(),
            patience: ANSWER_WITHIN,
            kv: KvClient::new(channel.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX),
            lease: LeaseClient::new(channel.clone()),
            maintenance: MaintenanceClient::new(channel),
        }
    }

    /// Limits the wait for a response to `patience`.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Sends a request as an operation with a new id.
    pub async fn ask(&mut self, request: Request) -> Operation {
        let id = self.clock.operation_id();
        self.ask_as(id, request).await
    }

    /// Sends a request as operation `id`.
    pub async fn ask_as(&mut self, id: u64, request: Request) -> Operation {
        let invoked = self.clock.now();
        let answer = tokio::time::timeout(self.patience, self.send(id, request.clone())).await;
        let outcome = match answer {
            Ok(Ok(response)) => Outcome::Answered(response),
            Ok(Err(status)) => outcome_of(&status),
            Err(_) => Outcome::Unknown(format!("no answer in {:?}", self.patience)),
        };
        let client = self.id;
        let member = self.member;
        let returned = self.clock.now();
        Operation { id, client, member, invoked, returned, request, outcome }
    }

    async fn send(&mut self, id: u64, request: Request) -> Result<Response, Status> {
        let inner = Answer::into_inner;
        Ok(match request {
            Request::Range(r) if id.is_multiple_of(STREAMED_EVERY) => {
                Response::Range(self.range_stream(r).await?)
            }
            Request::Range(r) => Response::Range(self.kv.range(r).await?.into_inner()),
            Request::Put(r) => Response::Put(self.kv.put(r).await?.into_inner()),
            Request::DeleteRange(r) => {
                Response::DeleteRange(self.kv.delete_range(r).await?.into_inner())
            }
            Request::Txn(r) => Response::Txn(self.kv.txn(r).await?.into_inner()),
            Request::Compact(r) => Response::Compact(self.kv.compact(r).await?.into_inner()),
            Request::LeaseGrant(r) => {
                Response::LeaseGrant(self.lease.lease_grant(r).await?.into_inner())
            }
            Request::LeaseRevoke(r) => {
                Response::LeaseRevoke(self.lease.lease_revoke(r).await?.into_inner())
            }
            Request::LeaseKeepAlive(r) => Response::LeaseKeepAlive(self.keep_alive(r).await?),
            Request::LeaseTimeToLive(r) => {
                Response::LeaseTimeToLive(self.lease.lease_time_to_live(r).await?.into_inner())
            }
            Request::LeaseLeases => {
                let listed = self.lease.lease_leases(LeaseLeasesRequest {}).await;
                Response::LeaseLeases(listed.map(inner)?)
            }
            Request::HashKv(r) => Response::HashKv(self.maintenance.hash_kv(r).await?.into_inner()),
            Request::Status => {
                let status = self.maintenance.status(StatusRequest {}).await;
                Response::Status(status?.into_inner())
            }
            Request::Defragment => {
                let done = self.maintenance.defragment(DefragmentRequest {}).await;
                Response::Defragment(done?.into_inner())
            }
        })
    }

    /// The parts of a streamed range, merged into one response.
    async fn range_stream(&mut self, request: RangeRequest) -> Result<RangeResponse, Status> {
        let mut parts = self.kv.range_stream(request).await?.into_inner();
        let mut kvs = Vec::new();
        while let Some(part) = parts.message().await? {
            let part = part.range_response.unwrap_or_default();
            kvs.extend(part.kvs);
            if part.header.is_some() {
                return Ok(RangeResponse {
                    kvs,
                    header: part.header,
                    more: part.more,
                    count: part.count,
                });
            }
        }
        Err(Status::unknown("the stream ended"))
    }

    async fn keep_alive(
        &mut self,
        request: LeaseKeepAliveRequest,
    ) -> Result<LeaseKeepAliveResponse, Status> {
        let once = tokio_stream::once(request);
        let mut answers = self.lease.lease_keep_alive(once).await?.into_inner();
        answers.message().await?.ok_or_else(|| Status::unknown("the stream ended"))
    }
}

/// An error of the member or a refused connection means that nothing was applied. After any other
/// error, the outcome is unknown.
fn outcome_of(status: &Status) -> Outcome {
    if was_not_sent(status) {
        return Outcome::NotSent(format!("{:?}: {}", status.code(), status.message()));
    }
    let refused = matches!(
        status.code(),
        Code::InvalidArgument
            | Code::NotFound
            | Code::FailedPrecondition
            | Code::OutOfRange
            | Code::ResourceExhausted
    );
    if refused && status.message().starts_with(REFUSAL) {
        Outcome::Refused(status.code(), status.message().to_owned())
    } else {
        Outcome::Unknown(format!("{:?}: {}", status.code(), status.message()))
    }
}

/// Whether the connection was refused, which happens only before anything is sent.
fn was_not_sent(status: &Status) -> bool {
    let mut cause: Option<&(dyn Error + 'static)> = status.source();
    while let Some(error) = cause {
        let error_of_io = error.downcast_ref::<io::Error>();
        if error_of_io.is_some_and(|error| error.kind() == io::ErrorKind::ConnectionRefused) {
            return true;
        }
        cause = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};

    use super::*;

    /// The outcome of a request to a port that accepts connections only if it `listens`.
    async fn ask(listens: bool) -> Outcome {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        let closing = listens.then(|| {
            // Accepts the connection and closes it without an answer.
            let listener = listener.try_clone().expect("there are descriptors");
            std::thread::spawn(move || drop(listener.accept()))
        });
        drop(listener);
        let mut client = Client::new(1, 0, &url, &Clock::new());
        let outcome = client.ask(Request::Status).await.outcome;
        closing.map(|closing| closing.join());
        outcome
    }

    #[tokio::test]
    async fn only_a_refused_connection_means_not_sent() {
        assert!(matches!(ask(false).await, Outcome::NotSent(_)), "the port is closed");
        assert!(matches!(ask(true).await, Outcome::Unknown(_)), "it was accepted");
    }
}
