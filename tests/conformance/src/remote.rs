//! A server under test, over gRPC.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use quorate_proto::etcdserverpb as pb;
use quorate_proto::etcdserverpb::auth_client::AuthClient;
use quorate_proto::etcdserverpb::kv_client::KvClient;
use quorate_proto::etcdserverpb::lease_client::LeaseClient;
use quorate_proto::etcdserverpb::maintenance_client::MaintenanceClient;
use quorate_proto::etcdserverpb::watch_client::WatchClient;
use quorate_test_script::{self as script, Answer, AuthAnswer, AuthCall, Failure, Target};
use quorate_test_support::client::{MESSAGE_BYTES_MAX, channel};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Request, Response, Status, Streaming};

/// How long a call may take.
const LIMIT: Duration = Duration::from_secs(30);
/// Capacity for watch requests that the connection has not yet taken. It takes them at once.
const REQUESTS_MAX: usize = 64;

struct WatchStream {
    requests: mpsc::Sender<pb::WatchRequest>,
    responses: Streaming<pb::WatchResponse>,
}

/// The token that a client's calls have, if any.
#[derive(Clone, Debug, Default)]
struct Token(Arc<Mutex<Option<MetadataValue<Ascii>>>>);

impl Interceptor for Token {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = self.0.lock().expect("no thread panicked").clone() {
            request.metadata_mut().insert("token", token);
        }
        Ok(request)
    }
}

/// A connection whose calls have the token.
type Calls = InterceptedService<Channel, Token>;

/// A client of one server, with one connection for all requests.
pub struct Remote {
    runtime: Runtime,
    kv: KvClient<Calls>,
    lease: LeaseClient<Calls>,
    maintenance: MaintenanceClient<Calls>,
    auth: AuthClient<Calls>,
    watch: WatchClient<Calls>,
    token: Token,
    streams: BTreeMap<String, WatchStream>,
    reorganised: bool,
    commands: usize,
}

impl Remote {
    /// A client of the server at `url`. If `reorganised`, it defragments the server before every
    /// third command.
    ///
    /// # Panics
    /// If `url` is not a URL.
    pub fn new(url: &str, reorganised: bool) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime starts");
        let channel = {
            let _in_runtime = runtime.enter();
            channel(url)
        };
        let token = Token::default();
        let channel = InterceptedService::new(channel, token.clone());
        Self {
            token,
            kv: KvClient::new(channel.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX),
            lease: LeaseClient::new(channel.clone()),
            maintenance: MaintenanceClient::new(channel.clone()),
            auth: AuthClient::new(channel.clone()),
            watch: WatchClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX),
            runtime,
            streams: BTreeMap::new(),
            reorganised,
            commands: 0,
        }
    }
}

/// The failure of a call that ended with a status.
fn refused(status: Status) -> Failure {
    let code = format!("{:?}", status.code());
    Failure::Refused(script::Status { code, message: status.message().to_owned() })
}

/// The failure of a watch stream.
fn broken(why: &str) -> Failure {
    Failure::Broken(why.to_owned())
}

async fn within<T>(call: impl Future<Output = Result<T, Status>>) -> Answer<T> {
    match tokio::time::timeout(LIMIT, call).await {
        Ok(answer) => answer.map_err(refused),
        Err(_) => Err(Failure::Broken(format!("no answer within {LIMIT:?}"))),
    }
}

/// Makes a unary call and waits for the answer.
fn call<T>(
    runtime: &Runtime,
    call: impl Future<Output = Result<Response<T>, Status>>,
) -> Answer<T> {
    runtime.block_on(within(call)).map(Response::into_inner)
}

impl Target for Remote {
    fn member_id(&mut self) -> u64 {
        let status = call(&self.runtime, self.maintenance.status(pb::StatusRequest {}));
        status.expect("a status").header.expect("a header").member_id
    }

    fn reorganize(&mut self) {
        self.commands += 1;
        if self.reorganised && self.commands.is_multiple_of(3) {
            let done = call(&self.runtime, self.maintenance.defragment(pb::DefragmentRequest {}));
            done.expect("defragmentation succeeds");
        }
    }

    fn range(&mut self, request: pb::RangeRequest) -> Answer<pb::RangeResponse> {
        call(&self.runtime, self.kv.range(request))
    }

    fn put(&mut self, request: pb::PutRequest) -> Answer<pb::PutResponse> {
        call(&self.runtime, self.kv.put(request))
    }

    fn delete_range(&mut self, request: pb::DeleteRangeRequest) -> Answer<pb::DeleteRangeResponse> {
        call(&self.runtime, self.kv.delete_range(request))
    }

    fn txn(&mut self, request: pb::TxnRequest) -> Answer<pb::TxnResponse> {
        call(&self.runtime, self.kv.txn(request))
    }

    fn compact(&mut self, request: pb::CompactionRequest) -> Answer<pb::CompactionResponse> {
        call(&self.runtime, self.kv.compact(request))
    }

    fn lease_grant(&mut self, request: pb::LeaseGrantRequest) -> Answer<pb::LeaseGrantResponse> {
        call(&self.runtime, self.lease.lease_grant(request))
    }

    fn lease_revoke(&mut self, request: pb::LeaseRevokeRequest) -> Answer<pb::LeaseRevokeResponse> {
        call(&self.runtime, self.lease.lease_revoke(request))
    }

    fn lease_time_to_live(
        &mut self,
        request: pb::LeaseTimeToLiveRequest,
    ) -> Answer<pb::LeaseTimeToLiveResponse> {
        call(&self.runtime, self.lease.lease_time_to_live(request))
    }

    fn lease_leases(&mut self) -> Answer<pb::LeaseLeasesResponse> {
        call(&self.runtime, self.lease.lease_leases(pb::LeaseLeasesRequest {}))
    }

    fn hash_kv(&mut self, request: pb::HashKvRequest) -> Answer<pb::HashKvResponse> {
        call(&self.runtime, self.maintenance.hash_kv(request))
    }

    fn alarm(&mut self, request: pb::AlarmRequest) -> Answer<pb::AlarmResponse> {
        call(&self.runtime, self.maintenance.alarm(request))
    }

    fn auth(&mut self, request: AuthCall) -> Answer<AuthAnswer> {
        /// Makes a call; its answer has this field besides its header.
        macro_rules! ask {
            ($method:ident, $request:ident $(, $field:ident: $value:expr)?) => {{
                let answer = call(&self.runtime, self.auth.$method($request))?;
                let header = answer.header.clone();
                Ok(AuthAnswer { header, $($field: $value(answer),)? ..Default::default() })
            }};
        }
        // A defragmentation would need a token.
        self.reorganised &= !matches!(request, AuthCall::Enable(_));
        match request {
            AuthCall::Enable(r) => ask!(auth_enable, r),
            AuthCall::Disable(r) => ask!(auth_disable, r),
            AuthCall::Status(r) => {
                let status = |a: pb::AuthStatusResponse| Some((a.enabled, a.auth_revision));
                ask!(auth_status, r, status: status)
            }
            AuthCall::Authenticate(r) => {
                ask!(authenticate, r, token: |a: pb::AuthenticateResponse| Some(a.token))
            }
            AuthCall::UserAdd(r) => ask!(user_add, r),
            AuthCall::UserGet(r) => ask!(user_get, r, names: |a: pb::AuthUserGetResponse| a.roles),
            AuthCall::UserList(r) => {
                ask!(user_list, r, names: |a: pb::AuthUserListResponse| a.users)
            }
            AuthCall::UserDelete(r) => ask!(user_delete, r),
            AuthCall::UserChangePassword(r) => ask!(user_change_password, r),
            AuthCall::UserGrantRole(r) => ask!(user_grant_role, r),
            AuthCall::UserRevokeRole(r) => ask!(user_revoke_role, r),
            AuthCall::RoleAdd(r) => ask!(role_add, r),
            AuthCall::RoleGet(r) => {
                ask!(role_get, r, permissions: |a: pb::AuthRoleGetResponse| a.perm)
            }
            AuthCall::RoleList(r) => {
                ask!(role_list, r, names: |a: pb::AuthRoleListResponse| a.roles)
            }
            AuthCall::RoleDelete(r) => ask!(role_delete, r),
            AuthCall::RoleGrantPermission(r) => ask!(role_grant_permission, r),
            AuthCall::RoleRevokePermission(r) => ask!(role_revoke_permission, r),
        }
    }

    fn use_token(&mut self, token: Option<String>) -> Answer<()> {
        let token = token.map(|token| token.parse().expect("a token is text"));
        *self.token.0.lock().expect("no thread panicked") = token;
        Ok(())
    }

    fn range_stream(
        &mut self,
        request: pb::RangeRequest,
    ) -> (Vec<pb::RangeStreamResponse>, Option<Failure>) {
        let mut parts = Vec::new();
        let read = async {
            let mut stream = self.kv.range_stream(request).await?.into_inner();
            while let Some(part) = stream.message().await? {
                parts.push(part);
            }
            Ok(())
        };
        let failure = self.runtime.block_on(within(read)).err();
        (parts, failure)
    }

    fn lease_keep_alive(
        &mut self,
        request: pb::LeaseKeepAliveRequest,
    ) -> Answer<pb::LeaseKeepAliveResponse> {
        let ask = async {
            let requests = tokio_stream::once(request);
            let mut answers = self.lease.lease_keep_alive(requests).await?.into_inner();
            let answer = answers.message().await?;
            answer.ok_or_else(|| Status::unknown("the stream ended without an answer"))
        };
        self.runtime.block_on(within(ask))
    }

    fn watch(&mut self, stream: &str, request: pb::WatchRequest) -> Answer<()> {
        if let Some(open) = self.streams.get(stream) {
            let sent = self.runtime.block_on(open.requests.send(request));
            return sent.map_err(|_| broken("the watch stream has ended"));
        }
        let open = async {
            let (requests, taken) = mpsc::channel(REQUESTS_MAX);
            requests.send(request).await.expect("its other end is here");
            let responses = self.watch.watch(ReceiverStream::new(taken)).await?.into_inner();
            Ok(WatchStream { requests, responses })
        };
        let open = self.runtime.block_on(within(open))?;
        self.streams.insert(stream.to_owned(), open);
        Ok(())
    }

    fn watched(&mut self, stream: &str, wait: Duration) -> Answer<Option<pb::WatchResponse>> {
        let open = self.streams.get_mut(stream);
        let open = open.ok_or_else(|| broken("there is no such watch stream"))?;
        let next = async { tokio::time::timeout(wait, open.responses.message()).await };
        match self.runtime.block_on(next) {
            Ok(Ok(Some(response))) => Ok(Some(response)),
            Ok(Ok(None)) => Err(broken("the watch stream has ended")),
            Ok(Err(status)) => Err(refused(status)),
            Err(_) => Ok(None),
        }
    }
}
