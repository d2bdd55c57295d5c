//! Answers ranges. Rows are written while the store is read, as long as there is room. The further
//! rows of a long answer are only measured. They are read again, piece by piece, as the connection
//! takes them. All rows are read at one revision.

use std::sync::Arc;

use bytes::Bytes;
use quorate_core::Error;
use quorate_core::auth::Needs;
use quorate_core::mvcc::View;
use quorate_core::mvcc::range::{
    RangeSummary, SortedKeys, has_revision_filters, is_in_key_order, key_range,
};
use quorate_core::txn::check;
use quorate_proto::etcdserverpb as pb;
use quorate_raft::{Account, Permit};

use super::pieces::{Long, Pinned, Rest};
use super::rows::{Form, Rows};
use crate::access::session::Session;
use crate::error::ApiError;
use crate::scan::Client;
use crate::server::Server;
use crate::tracer::operation::Operation;

/// Maximum bytes of an answer that are kept while the rest is measured.
const KEPT_BYTES_MAX: usize = 8 << 20;

/// An answer to a range request.
pub(crate) enum RangeAnswer<F> {
    /// A complete answer.
    Whole(Rows<F>),
    /// A long answer, of which only the beginning is kept.
    Long(Long<F>),
}

impl<F> RangeAnswer<F> {
    /// Gives a long answer the permit of its scan, because the answer holds the scan's keys.
    fn keep(&mut self, kept: Permit) {
        if let Self::Long(long) = self {
            long.rest.kept.push(kept);
        }
    }
}

impl Server {
    /// Answers a range request.
    ///
    /// # Errors
    /// The request is malformed, a linearizable read has no leader, the revision is compacted or in
    /// the future, the memory budget has no room, the client does not have the rights, or this
    /// member is a learner and the read is linearizable.
    pub(crate) async fn range<F: Form>(
        &self,
        session: &Session,
        request: pb::RangeRequest,
    ) -> Result<RangeAnswer<F>, ApiError> {
        if !request.serializable && self.member().is_learner() {
            return Err(ApiError::NotSupportedForLearner);
        }
        check::check_range(&request)?;
        let _span = session.span(|| Operation::range(&request));
        let reading = self.member().begin_range(request.serializable).await?;
        let read = async {
            let grant = self.authorize(session, || Needs::of_range(&request)).await?;
            let answer = self.read_range(&session.account, request).await?;
            grant.still_holds(self)?;
            Ok::<_, ApiError>(answer)
        };
        reading.end(read.await)
    }

    async fn read_range<F: Form>(
        &self,
        account: &Account,
        request: pb::RangeRequest,
    ) -> Result<RangeAnswer<F>, ApiError> {
        // A range of one key, and a count at the current revision without filters, take the same
        // time whatever the store contains. Any other range may have to skip any number of deleted
        // or newer keys.
        let counted =
            request.count_only && request.revision <= 0 && !has_revision_filters(&request);
        if request.range_end.is_empty() || counted {
            return self.read_rows(account, request, None);
        }
        let server = self.clone();
        let reader = account.clone();
        let read = move |client: &_| server.read_rows(&reader, request, Some(client));
        let scanned = self.scans().scan(account, read).await?;
        let mut answer = scanned.result?;
        answer.keep(scanned.kept);
        Ok(answer)
    }

    /// Reads a range. With a `client`, the read ends early once the client stops waiting.
    fn read_rows<F: Form>(
        &self,
        account: &Account,
        request: pb::RangeRequest,
        client: Option<&Arc<Client>>,
    ) -> Result<RangeAnswer<F>, ApiError> {
        let pinned = self.member().view();
        let view = match client {
            Some(client) => pinned.clone().with_context(client.clone()),
            None => pinned.clone(),
        };
        let header = self.header(view.revision());
        let mut kept = Rows::whole(account, KEPT_BYTES_MAX, &header);
        let read = read(&view, &request, &mut kept);
        let (summary, picked) = read.map_err(|error| self.read_failed(error))?;
        let (bytes, rows) = kept.measured();
        if rows == 0 {
            kept.finish(None, summary);
            return Ok(RangeAnswer::Whole(kept));
        }
        let mut request = request;
        if request.revision <= 0 {
            request.revision = view.revision();
        }
        let sent = kept.rows();
        if picked.is_none() && sent > 0 {
            request.key = key_range(&request).after(kept.last_key()).start;
        }
        let mut end = Vec::new();
        F::end(None, summary, sent + rows, &mut end);
        let rest = Rest {
            server: self.clone(),
            account: account.clone(),
            request,
            picked,
            sent,
            bytes,
            rows,
            pinned: Pinned::new(pinned),
            kept: Vec::new(),
        };
        Ok(RangeAnswer::Long(Long { kept, rest: Box::new(rest), end }))
    }
}

/// Reads a range. If the rows are not in key order, the keys of all rows are returned, too.
fn read<F: Form>(
    view: &View,
    request: &pb::RangeRequest,
    range: &mut Rows<F>,
) -> Result<(RangeSummary, Option<Vec<Bytes>>), Error> {
    if request.count_only || is_in_key_order(request) {
        return Ok((view.range(request, true, range)?, None));
    }
    let SortedKeys { keys, summary } = view.sorted_keys(request, true)?;
    view.rows(request, &keys, range)?;
    Ok((summary, Some(keys)))
}

/// The read of a health check. Its key is empty; the key in a client's request must not be empty.
pub(crate) fn internal_range(serializable: bool) -> pb::RangeRequest {
    pb::RangeRequest {
        key: Bytes::new(),
        keys_only: true,
        limit: 1,
        serializable,
        ..Default::default()
    }
}
