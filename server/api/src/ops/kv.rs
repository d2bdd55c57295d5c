//! Writes and transactions.

use std::sync::Arc;

use prost::Message as _;
use quorate_core::auth::Needs;
use quorate_core::txn::check;
use quorate_core::txn::{is_read_only, is_serializable};
use quorate_core::{Command, Reply, Tally};
use quorate_proto::etcdserverpb as pb;

use super::Answered;
use super::propose::wrong_reply;
use crate::access::session::Session;
use crate::error::ApiError;
use crate::scan::{Client, Scanned};
use crate::server::Server;
use crate::tracer::operation::Operation;

impl Server {
    /// Puts a key.
    ///
    /// # Errors
    /// The request is malformed or too large, it is refused, the memory budget has no room, or the
    /// proposal fails.
    pub(crate) async fn put(
        &self,
        session: &Session,
        request: pb::PutRequest,
    ) -> Result<Answered<pb::PutResponse>, ApiError> {
        let _span = session.span(|| Operation::put(&request));
        let command = Command::Put(request);
        let grant = self.authorize(session, || Needs::of(&command)).await?;
        let reserved = self.member().check_quota(&command).await?;
        let Command::Put(put) = &command else { unreachable!("made above") };
        check::check_put(put)?;
        let length = put.encoded_len();
        let permit = self.make_room(&session.account, &command).await?;
        match self.propose(&command, &grant, length, reserved).await? {
            Reply::Put(mut message) => {
                self.fill(&mut message.header);
                Ok(Answered { message, permit })
            }
            other => Err(wrong_reply(&other)),
        }
    }

    /// Deletes the keys of a range.
    ///
    /// # Errors
    /// Those of [`put`](Self::put).
    pub(crate) async fn delete_range(
        &self,
        session: &Session,
        request: pb::DeleteRangeRequest,
    ) -> Result<Answered<pb::DeleteRangeResponse>, ApiError> {
        check::check_delete_range(&request)?;
        let _span = session.span(|| Operation::delete_range(&request));
        let length = request.encoded_len();
        let command = Command::DeleteRange(request);
        let grant = self.authorize(session, || Needs::of(&command)).await?;
        let permit = self.make_room(&session.account, &command).await?;
        match self.propose(&command, &grant, length, None).await? {
            Reply::DeleteRange(mut message) => {
                self.fill(&mut message.header);
                Ok(Answered { message, permit })
            }
            other => Err(wrong_reply(&other)),
        }
    }

    /// Runs a transaction.
    ///
    /// # Errors
    /// Those of [`put`](Self::put).
    pub(crate) async fn txn(
        &self,
        session: &Session,
        request: pb::TxnRequest,
    ) -> Result<Answered<pb::TxnResponse>, ApiError> {
        let is_read = is_read_only(&request);
        let _span = session.span(|| Operation::txn(&request, is_read));
        if is_read {
            return self.read_txn(session, request).await;
        }
        let command = Command::Txn(request);
        let grant = self.authorize(session, || Needs::of(&command)).await?;
        let reserved = self.member().check_quota(&command).await?;
        let Command::Txn(txn) = command else { unreachable!("made above") };
        check::check_txn(&txn, self.options().max_txn_ops)?;
        let length = txn.encoded_len();
        let command = Command::Txn(txn);
        let permit = self.make_room(&session.account, &command).await?;
        match self.propose(&command, &grant, length, reserved).await? {
            Reply::Txn(mut message) => {
                self.fill(&mut message.header);
                Ok(Answered { message, permit })
            }
            other => Err(wrong_reply(&other)),
        }
    }

    /// Answers a read-only transaction.
    async fn read_txn(
        &self,
        session: &Session,
        request: pb::TxnRequest,
    ) -> Result<Answered<pb::TxnResponse>, ApiError> {
        check::check_txn(&request, self.options().max_txn_ops)?;
        if !is_serializable(&request) {
            self.member().linearize().await?;
        }
        let grant = self.authorize(session, || Needs::of_txn(&request)).await?;
        let reading = self.member().begin_read_txn();
        let server = self.clone();
        let read = move |client: &Arc<Client>| {
            let mut tally = Tally::default();
            let view = server.member().view().with_context(client.clone());
            let response = view.read_txn(&request, &mut tally);
            server.member().durations().count(&tally);
            response.map_err(|error| server.read_failed(error))
        };
        let scanned = self.scans().scan(&session.account, read).await;
        let scanned = scanned.and_then(|Scanned { result, kept }| Ok((result?, kept)));
        let (mut message, kept) = reading.end(scanned)?;
        grant.still_holds(self)?;
        self.fill(&mut message.header);
        Ok(Answered { message, permit: Some(kept) })
    }

    /// Compacts the history.
    ///
    /// # Errors
    /// The revision is refused, or the proposal fails.
    pub(crate) async fn compact(
        &self,
        session: &Session,
        request: pb::CompactionRequest,
    ) -> Result<pb::CompactionResponse, ApiError> {
        let _span = session.span(|| Operation::compact(&request));
        let length = request.encoded_len();
        let command = Command::Compact(request);
        let grant = self.authorize(session, || Needs::of(&command)).await?;
        let reply = self.propose(&command, &grant, length, None).await?;
        let Reply::Compact(mut response) = reply else { return Err(wrong_reply(&reply)) };
        if request.physical {
            self.member().history_deleted(request.revision).await?;
        }
        response.header = Some(self.header_now());
        Ok(response)
    }
}
