//! The audit of a member once it is back.

use std::time::Duration;

use bytes::Bytes;
use quorate_proto::etcdserverpb::watch_client::WatchClient;
use quorate_proto::etcdserverpb::watch_request::RequestUnion;
use quorate_proto::etcdserverpb::{
    HashKvRequest, LeaseTimeToLiveRequest, RangeRequest, WatchCreateRequest, WatchRequest,
};
use quorate_proto::mvccpb::Event;
use quorate_test_support::client::{MESSAGE_BYTES_MAX, channel};
use tonic::Status;

use crate::checker::Checker;
use crate::history::{Moment, Operation, Request};
use crate::workload::client::Client;

/// How many leases are read with their keys.
const LEASES_READ: usize = 16;
/// How long reading events may take.
const EVENTS_WITHIN: Duration = Duration::from_secs(60);

/// Reads everything that a member holds.
pub(super) struct Auditor<'a> {
    client: Client,
    url: &'a str,
    checker: &'a Checker,
    asked: Vec<Operation>,
}

impl<'a> Auditor<'a> {
    pub(super) fn new(client: Client, url: &'a str, checker: &'a Checker) -> Self {
        Self { client, url, checker, asked: Vec::new() }
    }

    /// Reads leases, keys, hashes and then every event above revision `known`. Returns the events
    /// and the operations.
    ///
    /// # Panics
    /// When a request gets no response.
    pub(super) async fn audit(
        &mut self,
        since: Moment,
        known: i64,
    ) -> (Vec<Event>, Vec<Operation>) {
        self.ask(Request::Status).await;
        self.ask(Request::LeaseLeases).await;
        for id in self.checker.leases(since).into_iter().rev().take(LEASES_READ) {
            self.ask(Request::LeaseTimeToLive(LeaseTimeToLiveRequest { id, keys: true })).await;
        }
        let compacted = self.checker.model().compacted();
        let all = Bytes::from_static(b"\0");
        let range = RangeRequest { key: all.clone(), range_end: all, ..Default::default() };
        if compacted > 1 {
            // The member must refuse it.
            let revision = compacted - 1;
            self.ask_any(Request::Range(RangeRequest { revision, ..range.clone() })).await;
        }
        self.ask(Request::HashKv(HashKvRequest { revision: known })).await;
        self.ask(Request::HashKv(HashKvRequest { revision: 0 })).await;
        self.ask(Request::Range(RangeRequest { revision: known, ..range.clone() })).await;
        let last = self.ask(Request::Range(range)).await;
        let events = events(self.url, known + 1, last).await;
        (events, std::mem::take(&mut self.asked))
    }

    /// Sends a request that must be answered. Returns the revision of the response.
    async fn ask(&mut self, request: Request) -> i64 {
        self.ask_any(request).await;
        let operation = self.asked.last().expect("just asked");
        operation.revision().unwrap_or_else(|| panic!("the audit needs an answer: {operation}"))
    }

    async fn ask_any(&mut self, request: Request) {
        let operation = self.client.ask(request).await;
        assert!(!operation.is_unanswered(), "the audit needs an answer: {operation}");
        self.asked.push(operation);
    }
}

/// Every event of the revisions `from..=to`, with previous values, from a watch. Every revision has
/// at least one event.
///
/// # Panics
/// When the watch fails.
pub async fn events(url: &str, from: i64, to: i64) -> Vec<Event> {
    if from > to {
        return Vec::new();
    }
    let read = tokio::time::timeout(EVENTS_WITHIN, read_events(url, from, to)).await;
    let read = read.unwrap_or_else(|_| panic!("no end of events {from}..={to}"));
    read.unwrap_or_else(|error| panic!("events {from}..={to}: {error}"))
}

async fn read_events(url: &str, from: i64, to: i64) -> Result<Vec<Event>, Status> {
    let all = Bytes::from_static(b"\0");
    let create = WatchCreateRequest {
        key: all.clone(),
        range_end: all,
        start_revision: from,
        prev_kv: true,
        ..Default::default()
    };
    let create = WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
    let (requests, receiver) = tokio::sync::mpsc::channel(1);
    requests.try_send(create).expect("the queue is empty");
    let mut client = WatchClient::new(channel(url)).max_decoding_message_size(MESSAGE_BYTES_MAX);
    let receiver = tokio_stream::wrappers::ReceiverStream::new(receiver);
    let mut answers = client.watch(receiver).await?.into_inner();
    let mut events: Vec<Event> = Vec::new();
    let revision = |event: &Event| event.kv.as_ref().map_or(0, |kv| kv.mod_revision);
    while events.last().map_or(0, revision) < to {
        let answer = answers.message().await?;
        let answer = answer.ok_or_else(|| Status::unknown("the stream ended"))?;
        if answer.canceled {
            return Err(Status::unknown(format!("the watch was cancelled: {answer:?}")));
        }
        events.extend(answer.events);
    }
    // The next audit reads the later events.
    events.retain(|event| revision(event) <= to);
    Ok(events)
}
