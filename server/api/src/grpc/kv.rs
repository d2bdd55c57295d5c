//! The KV service.

use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{Stream, stream};
use prost::Message;
use quorate_core::mvcc::range::{RangeSummary, has_revision_filters, is_default_order, key_range};
use quorate_core::txn::check;
use quorate_core::txn::{is_read_only, is_serializable};
use quorate_core::{Command, Error, Reply, Tally};
use quorate_proto::etcdserverpb as pb;
use quorate_raft::{Account, Permit};
use tonic::{Request, Response, Status};

use super::account_of;
use super::range::RangeAnswer;
use super::stubs::k_v_server::KV;
use crate::codec::rows::{EncodedChunk, EncodedRange};
use crate::error::{ApiError, status};
use crate::scan::{Client, Scanned};
use crate::server::Server;
use crate::transport::charge::{ANSWER_WITHIN, CALL_BYTES, take};
use crate::transport::stream::keeping;

/// Keys in the first chunk of a `RangeStream`.
const FIRST_CHUNK_KEYS: i64 = 10;

/// The KV service of a server.
pub(crate) struct KvService(pub(crate) Server);

type ChunkStream = Pin<Box<dyn Stream<Item = Result<EncodedChunk, Status>> + Send>>;

impl Server {
    /// Proposes a client's command. `length` is the encoded length of the client's request.
    ///
    /// # Errors
    /// The request is too large, or the proposal fails.
    pub(crate) async fn propose(&self, command: &Command, length: usize) -> Result<Reply, Status> {
        if self.replicated_len(length) > self.options().max_request_bytes {
            self.member().durations().refused(command.kind());
            return Err(status(ApiError::RequestTooLarge));
        }
        self.member().propose(command).await.map_err(status)
    }

    /// The length that the request would have in etcd's log, to which etcd applies its limit: a
    /// header with the request id, and the request as a field.
    fn replicated_len(&self, length: usize) -> usize {
        // etcd's request ids begin with the lower 16 bits of the member id. The highest of these
        // bits decides the length of the id as a varint.
        let long_id = self.member().identity().member_id & 0x8000 != 0;
        let header = 13 + usize::from(long_id);
        header + 1 + prost::encoding::encoded_len_varint(length as u64) + length
    }

    /// Takes memory for the answer to a write, whose size is measured against the current state.
    /// This happens before the proposal, because a write that has been applied must be answered.
    async fn make_room(
        &self,
        account: &Account,
        command: &Command,
    ) -> Result<Option<Permit>, Status> {
        let measured = if command.has_ranges() {
            let server = self.clone();
            let command = command.clone();
            let measure = move |client: &Arc<Client>| {
                server.member().view().patient(client.clone()).measure(&command)
            };
            let Scanned { result, kept } = self.scan(account, measure).await?;
            match result {
                Ok(_) => return Ok(Some(kept)),
                Err(error) => Err(error),
            }
        } else {
            self.member().view().measure(command)
        };
        match measured {
            Ok(bytes) if bytes <= CALL_BYTES => Ok(None),
            Ok(bytes) => take(account, bytes, ANSWER_WITHIN).await.map(Some),
            Err(Error::Fault(fault)) => Err(self.fault(&fault)),
            // The state machine will refuse the command with this error.
            Err(Error::Refusal(_)) => Ok(None),
        }
    }

    async fn range(
        &self,
        account: &Account,
        request: pb::RangeRequest,
    ) -> Result<RangeAnswer, Status> {
        if !request.serializable && self.member().is_learner() {
            return Err(status(ApiError::NotSupportedForLearner));
        }
        check::check_range(&request).map_err(status)?;
        let reading = self.member().begin_range(request.serializable).await.map_err(status)?;
        reading.end(self.read_range(account, request).await)
    }

    async fn read_range(
        &self,
        account: &Account,
        request: pb::RangeRequest,
    ) -> Result<RangeAnswer, Status> {
        // Only these ranges take the same time whatever the store contains. Any other range may
        // have to skip any number of deleted or newer keys.
        let counted =
            request.count_only && request.revision <= 0 && !has_revision_filters(&request);
        if request.range_end.is_empty() || counted {
            return self.read_rows(account, request, None);
        }
        let server = self.clone();
        let reader = account.clone();
        let read = move |client: &_| server.read_rows(&reader, request, Some(client));
        let scanned = self.scan(account, read).await?;
        let mut answer = scanned.result?;
        answer.keep(scanned.kept);
        Ok(answer)
    }

    /// Answers a read-only transaction.
    async fn read_txn(
        &self,
        account: &Account,
        request: pb::TxnRequest,
    ) -> Result<Response<pb::TxnResponse>, Status> {
        if !is_serializable(&request) {
            self.member().linearize().await.map_err(status)?;
        }
        let reading = self.member().begin_read_txn();
        let server = self.clone();
        let read = move |client: &Arc<Client>| {
            let mut tally = Tally::default();
            let view = server.member().view().patient(client.clone());
            let response = view.read_txn(&request, &mut tally);
            server.member().durations().count(&tally);
            response.map_err(|error| server.read_failed(error))
        };
        let scanned = self.scan(account, read).await;
        let scanned = scanned.and_then(|Scanned { result, kept }| Ok((result?, kept)));
        let (mut answer, kept) = reading.end(scanned)?;
        self.fill(&mut answer.header);
        Ok(keeping(answer, kept))
    }
}

/// A response that keeps its permit, if it has one, until it is encoded.
fn keeping_some<T>(message: T, kept: Option<Permit>) -> Response<T> {
    match kept {
        Some(kept) => keeping(message, kept),
        None => Response::new(message),
    }
}

/// The error for a reply that does not fit its command. The state machine never returns one.
pub(crate) fn wrong_reply(reply: &Reply) -> Status {
    tracing::error!(?reply, "the state machine returned a reply of the wrong type");
    Status::internal("etcdserver: unexpected reply")
}

#[tonic::async_trait]
impl KV for KvService {
    async fn range(
        &self,
        request: Request<pb::RangeRequest>,
    ) -> Result<Response<EncodedRange>, Status> {
        let account = account_of(&request);
        self.0.range(&account, request.into_inner()).await?.into_response()
    }

    type RangeStreamStream = ChunkStream;

    async fn range_stream(
        &self,
        request: Request<pb::RangeRequest>,
    ) -> Result<Response<ChunkStream>, Status> {
        let account = account_of(&request);
        let request = request.into_inner();
        check::check_range(&request).map_err(status)?;
        if !is_default_order(&request) {
            return Err(Status::unimplemented("RangeStream does not support custom sort orders"));
        }
        if has_revision_filters(&request) {
            return Err(Status::unimplemented("RangeStream does not support revision filters"));
        }
        if !request.serializable {
            self.0.member().linearize().await.map_err(status)?;
        }
        let chunks = Chunks::new(self.0.clone(), account, request);
        Ok(Response::new(Box::pin(stream::try_unfold(chunks, Chunks::next))))
    }

    async fn put(
        &self,
        request: Request<pb::PutRequest>,
    ) -> Result<Response<pb::PutResponse>, Status> {
        let account = account_of(&request);
        let command = Command::Put(request.into_inner());
        let _claim = self.0.member().check_quota(&command).await.map_err(status)?;
        let Command::Put(put) = &command else { unreachable!("made above") };
        check::check_put(put).map_err(status)?;
        let length = put.encoded_len();
        let kept = self.0.make_room(&account, &command).await?;
        match self.0.propose(&command, length).await? {
            Reply::Put(mut response) => {
                self.0.fill(&mut response.header);
                Ok(keeping_some(response, kept))
            }
            other => Err(wrong_reply(&other)),
        }
    }

    async fn delete_range(
        &self,
        request: Request<pb::DeleteRangeRequest>,
    ) -> Result<Response<pb::DeleteRangeResponse>, Status> {
        let account = account_of(&request);
        let request = request.into_inner();
        check::check_delete_range(&request).map_err(status)?;
        let length = request.encoded_len();
        let command = Command::DeleteRange(request);
        let kept = self.0.make_room(&account, &command).await?;
        match self.0.propose(&command, length).await? {
            Reply::DeleteRange(mut response) => {
                self.0.fill(&mut response.header);
                Ok(keeping_some(response, kept))
            }
            other => Err(wrong_reply(&other)),
        }
    }

    async fn txn(
        &self,
        request: Request<pb::TxnRequest>,
    ) -> Result<Response<pb::TxnResponse>, Status> {
        let account = account_of(&request);
        let command = Command::Txn(request.into_inner());
        let _claim = self.0.member().check_quota(&command).await.map_err(status)?;
        let Command::Txn(txn) = command else { unreachable!("made above") };
        check::check_txn(&txn, self.0.options().max_txn_ops).map_err(status)?;
        if is_read_only(&txn) {
            return self.0.read_txn(&account, txn).await;
        }
        let length = txn.encoded_len();
        let command = Command::Txn(txn);
        let kept = self.0.make_room(&account, &command).await?;
        match self.0.propose(&command, length).await? {
            Reply::Txn(mut response) => {
                self.0.fill(&mut response.header);
                Ok(keeping_some(response, kept))
            }
            other => Err(wrong_reply(&other)),
        }
    }

    async fn compact(
        &self,
        request: Request<pb::CompactionRequest>,
    ) -> Result<Response<pb::CompactionResponse>, Status> {
        let request = request.into_inner();
        let length = request.encoded_len();
        let reply = self.0.propose(&Command::Compact(request), length).await?;
        let Reply::Compact(mut response) = reply else { return Err(wrong_reply(&reply)) };
        if request.physical {
            self.0.member().history_deleted(request.revision).await.map_err(status)?;
        }
        response.header = Some(self.0.header_now());
        Ok(Response::new(response))
    }
}

/// A `RangeStream` in progress. Each chunk is read at the same revision, but from its own view of
/// the store, so that a slow client does not pin a view.
struct Chunks {
    server: Server,
    account: Account,
    request: pb::RangeRequest,
    /// Most keys to send: the client's limit, or `i64::MAX` if there is none.
    limit: i64,
    sent: i64,
    header_revision: i64,
    done: bool,
}

impl Chunks {
    fn new(server: Server, account: Account, mut request: pb::RangeRequest) -> Self {
        let limit = if request.limit == 0 { i64::MAX } else { request.limit };
        request.limit = FIRST_CHUNK_KEYS.min(limit);
        Self { server, account, request, limit, sent: 0, header_revision: 0, done: false }
    }

    async fn next(mut self) -> Result<Option<(EncodedChunk, Self)>, Status> {
        if self.done {
            return Ok(None);
        }
        let server = self.server.clone();
        let account = self.account.clone();
        let mut room = account.nothing();
        let (chunk, this) = loop {
            let read = move |client: &Arc<Client>| self.read(client, room).map(|part| (part, self));
            let (chunk, this) = server.scan(&account, read).await?.result?;
            match chunk.needs() {
                0 => break (chunk, this),
                bytes => room = take(&account, bytes, ANSWER_WITHIN).await?,
            }
            self = this;
        };
        Ok(Some((EncodedChunk(chunk), this)))
    }

    fn read(&mut self, client: &Arc<Client>, room: Permit) -> Result<EncodedRange, Status> {
        let view = self.server.member().view().patient(client.clone());
        // `next_limit` keeps chunks below this size, unless rows are much larger than those of the
        // chunk before.
        let bytes_max = self.server.options().max_request_bytes.saturating_mul(4);
        let mut chunk = EncodedRange::part(room, bytes_max);
        let durations = self.server.member().durations();
        let summary = durations.range(|| view.range(&self.request, false, &mut chunk));
        let mut summary = summary.map_err(|error| self.server.read_failed(error))?;
        if chunk.needs() > 0 {
            return Ok(chunk);
        }
        // A full chunk ended before a row, so there are more.
        summary.more |= chunk.is_full();
        if self.header_revision == 0 {
            self.header_revision = view.revision();
            if self.request.revision == 0 {
                self.request.revision = view.revision();
            }
        }
        self.sent += i64::try_from(chunk.rows()).expect("fewer rows than i64::MAX");
        let rest = if summary.more {
            Some(key_range(&self.request).after(chunk.last_key()))
        } else {
            None
        };
        self.done = !summary.more || self.sent == self.limit || self.request.count_only;
        if self.done {
            chunk.put_header(&self.server.header(self.header_revision));
            let behind = match &rest {
                Some(rest) => durations.range(|| view.count(rest, self.request.revision)),
                None => Ok(0),
            };
            let behind = behind.map_err(|fault| self.server.fault(&fault))?;
            let count = if self.request.count_only { summary.count } else { self.sent + behind };
            chunk.finish(RangeSummary { more: summary.more, count });
        } else if let Some(rest) = rest {
            self.request.key = rest.start;
            self.request.limit = self.next_limit(chunk.len()).min(self.limit - self.sent);
        }
        Ok(chunk)
    }

    /// The number of keys for the next chunk. The target size is that of the largest request: the
    /// number doubles after a chunk below half of it, and halves after a chunk above twice of it.
    fn next_limit(&self, length: usize) -> i64 {
        let target = self.server.options().max_request_bytes;
        let limit = self.request.limit;
        let next = match length {
            short if short < target / 2 => limit.saturating_mul(2),
            long if long > target * 2 => limit / 2,
            _ => limit,
        };
        next.max(1)
    }
}

/// The read of a health check. Its key is empty, which the requests of clients must not have.
pub(crate) fn internal_range(serializable: bool) -> pb::RangeRequest {
    pb::RangeRequest {
        key: Bytes::new(),
        keys_only: true,
        limit: 1,
        serializable,
        ..Default::default()
    }
}
