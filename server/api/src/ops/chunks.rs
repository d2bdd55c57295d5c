//! `RangeStream`: a range in chunks, which are read when the client takes them.

use std::sync::Arc;

use futures_util::{Stream, stream};
use opentelemetry::global::BoxedSpan;
use quorate_core::auth::Needs;
use quorate_core::mvcc::range::{RangeSummary, has_revision_filters, is_default_order, key_range};
use quorate_core::txn::check;
use quorate_proto::etcdserverpb as pb;
use quorate_raft::{Account, Permit};

use super::rows::{Form, Rows};
use crate::access::grant::Grant;
use crate::access::session::Session;
use crate::error::ApiError;
use crate::memory::{ANSWER_WITHIN, take};
use crate::scan::Client;
use crate::server::Server;
use crate::tracer::operation::Operation;

/// Maximum number of keys in the first chunk.
const FIRST_CHUNK_KEYS: i64 = 10;

impl Server {
    /// Answers a range request as a stream of messages.
    ///
    /// # Errors
    /// The request is malformed, or asks for a sort order or a filter that a stream does not
    /// support; no leader confirms a linearizable read; or the client does not have the rights.
    /// Other errors end the stream.
    pub(crate) async fn range_stream<F: Form>(
        &self,
        session: &Session,
        request: pb::RangeRequest,
    ) -> Result<impl Stream<Item = Result<Rows<F>, ApiError>> + Send + use<F>, ApiError> {
        check::check_range(&request)?;
        if !is_default_order(&request) {
            return Err(ApiError::StreamOrder);
        }
        if has_revision_filters(&request) {
            return Err(ApiError::StreamFilters);
        }
        let span = session.span(|| Operation::range_stream(&request));
        if !request.serializable {
            self.member().linearize().await?;
        }
        let grant = self.authorize(session, || Needs::of_range(&request)).await?;
        let chunks = Chunks::new(self.clone(), session.account.clone(), grant, request, span);
        Ok(stream::try_unfold(chunks, Chunks::next))
    }
}

/// A `RangeStream` in progress. Each chunk is read at the same revision, but from its own view of
/// the store, so that a slow client does not pin a view.
struct Chunks {
    server: Server,
    account: Account,
    grant: Grant,
    request: pb::RangeRequest,
    /// Maximum number of keys to send: the client's limit, or `i64::MAX` if there is none.
    limit: i64,
    sent: i64,
    header_revision: i64,
    done: bool,
    /// Ends with the stream.
    _span: Option<BoxedSpan>,
}

impl Chunks {
    fn new(
        server: Server,
        account: Account,
        grant: Grant,
        mut request: pb::RangeRequest,
        span: Option<BoxedSpan>,
    ) -> Self {
        let limit = if request.limit == 0 { i64::MAX } else { request.limit };
        request.limit = FIRST_CHUNK_KEYS.min(limit);
        Self {
            server,
            account,
            grant,
            request,
            limit,
            sent: 0,
            header_revision: 0,
            done: false,
            _span: span,
        }
    }

    async fn next<F: Form>(mut self) -> Result<Option<(Rows<F>, Self)>, ApiError> {
        if self.done {
            return Ok(None);
        }
        let server = self.server.clone();
        let account = self.account.clone();
        let mut room = account.nothing();
        let (chunk, this) = loop {
            let read =
                move |client: &Arc<Client>| self.read(client, room).map(|chunk| (chunk, self));
            let (chunk, this) = server.scans().scan(&account, read).await?.result?;
            match chunk.needs() {
                0 => break (chunk, this),
                bytes => room = take(&account, bytes, ANSWER_WITHIN).await?,
            }
            self = this;
        };
        this.grant.still_holds(&server)?;
        Ok(Some((chunk, this)))
    }

    fn read<F: Form>(&mut self, client: &Arc<Client>, room: Permit) -> Result<Rows<F>, ApiError> {
        let view = self.server.member().view().with_context(client.clone());
        // `next_limit` keeps chunks below this size, unless rows are much larger than those of the
        // chunk before.
        let bytes_max = self.server.options().max_request_bytes.saturating_mul(4);
        let mut chunk = Rows::chunk(room, bytes_max);
        let durations = self.server.member().durations();
        let summary = durations.range(|| view.range(&self.request, false, &mut chunk));
        let mut summary = summary.map_err(|error| self.server.read_failed(error))?;
        if chunk.needs() > 0 {
            return Ok(chunk);
        }
        // A full chunk left out at least one row.
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
            let behind = match &rest {
                Some(rest) => durations.range(|| view.count(rest, self.request.revision)),
                None => Ok(0),
            };
            let behind = behind.map_err(|fault| self.server.fault(&fault))?;
            let count = if self.request.count_only { summary.count } else { self.sent + behind };
            let header = self.server.header(self.header_revision);
            chunk.finish(Some(&header), RangeSummary { more: summary.more, count });
        } else if let Some(rest) = rest {
            self.request.key = rest.start;
            self.request.limit = self.next_limit(chunk.len()).min(self.limit - self.sent);
            // Only the last chunk has a header and a summary.
            chunk.finish(None, RangeSummary { more: false, count: 0 });
        }
        Ok(chunk)
    }

    /// The number of keys for the next chunk. The target is the maximum size of a request. After a
    /// chunk of less than half the target, the number doubles. After a chunk of more than twice the
    /// target, the number halves.
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
