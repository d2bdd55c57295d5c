//! A watch stream built from parts of the core: interests, matching, events and history.

use std::collections::{BTreeMap, VecDeque};

use quorate_core::mvcc::View;
use quorate_core::watch::Interest;
use quorate_core::watch::event::event_of;
use quorate_core::watch::matcher::Matcher;
use quorate_core::{KeyRange, Record};
use quorate_proto::etcdserverpb::watch_create_request::FilterType;
use quorate_proto::etcdserverpb::watch_request::RequestUnion;
use quorate_proto::etcdserverpb::{WatchCreateRequest, WatchRequest, WatchResponse};
use quorate_test_script::{Answer, Failure};

use crate::state_machine::header;

struct Watcher {
    interest: Interest,
    /// The first main revision that it has not received.
    next: i64,
    /// Whether it starts in the past and has not received its history yet.
    is_behind: bool,
}

/// The watchers of a stream, and the messages not read yet.
#[derive(Default)]
pub(crate) struct Watches {
    watchers: BTreeMap<i64, Watcher>,
    matcher: Matcher,
    messages: VecDeque<WatchResponse>,
    next_id: i64,
}

impl Watches {
    pub(crate) fn handle(&mut self, view: &View, request: WatchRequest) -> Answer<()> {
        match request.request_union {
            Some(RequestUnion::CreateRequest(create)) => return self.create(view, create),
            Some(RequestUnion::CancelRequest(cancel)) => {
                self.collect(view);
                let watch_id = cancel.watch_id;
                if let Some(watcher) = self.watchers.remove(&watch_id) {
                    self.matcher.remove(&watcher.interest.range, entry(watch_id));
                    let header = header(view.revision());
                    let response =
                        WatchResponse { header, watch_id, canceled: true, ..Default::default() };
                    self.messages.push_back(response);
                }
            }
            Some(RequestUnion::ProgressRequest(_)) => {
                self.collect(view);
                let reached = |watcher: &Watcher| watcher.next <= view.revision() + 1;
                if !self.watchers.is_empty() && self.watchers.values().all(reached) {
                    let header = header(view.revision());
                    let response = WatchResponse { header, watch_id: -1, ..Default::default() };
                    self.messages.push_back(response);
                }
            }
            None => {}
        }
        Ok(())
    }

    /// The next message, if there is one.
    pub(crate) fn next(&mut self, view: &View) -> Option<WatchResponse> {
        if self.messages.is_empty() {
            self.collect(view);
        }
        self.messages.pop_front()
    }

    fn create(&mut self, view: &View, create: WatchCreateRequest) -> Answer<()> {
        let start = create.start_revision;
        if create.watch_id != 0
            || create.key.is_empty()
            || start < 0
            || start < view.compacted() && start > 0
        {
            return Err(Failure::unsupported("refusing a watch"));
        }
        let wants = |filter: FilterType| create.filters.contains(&(filter as i32));
        let interest = Interest {
            no_put: wants(FilterType::Noput),
            no_delete: wants(FilterType::Nodelete),
            prev_kv: create.prev_kv,
            range: KeyRange::from_wire(create.key, create.range_end),
        };
        let watch_id = self.next_id;
        self.next_id += 1;
        self.matcher.insert(interest.range.clone(), entry(watch_id));
        let is_behind = start > 0 && start <= view.revision();
        let next = if start == 0 { view.revision() + 1 } else { start };
        self.watchers.insert(watch_id, Watcher { interest, next, is_behind });
        let header = header(view.revision());
        let response = WatchResponse { header, watch_id, created: true, ..Default::default() };
        self.messages.push_back(response);
        Ok(())
    }

    /// Turns new versions into messages: one per watcher and revision, and a single one with the
    /// history of each watcher that starts in the past.
    fn collect(&mut self, view: &View) {
        let revision = view.revision();
        let Some(from) = self.watchers.values().map(|watcher| watcher.next).min() else { return };
        let records = view.history(from, i64::MAX, usize::MAX).expect("no fault");
        let mut behind = BTreeMap::new();
        for records in records.chunk_by(|a, b| a.revision.main == b.revision.main) {
            for (watch_id, mut response) in self.responses(view, records) {
                let watcher = &self.watchers[&watch_id];
                if watcher.is_behind {
                    let all: &mut WatchResponse = behind.entry(watch_id).or_default();
                    all.events.append(&mut response.events);
                } else {
                    self.messages.push_back(response);
                }
            }
        }
        for (watch_id, all) in behind {
            let header = header(revision);
            self.messages.push_back(WatchResponse { header, watch_id, ..all });
        }
        for watcher in self.watchers.values_mut() {
            watcher.next = watcher.next.max(revision + 1);
            watcher.is_behind = false;
        }
    }

    /// The messages for each watcher about the versions of one revision.
    fn responses(&self, view: &View, records: &[Record]) -> BTreeMap<i64, WatchResponse> {
        let mut responses: BTreeMap<i64, WatchResponse> = BTreeMap::new();
        for record in records {
            let mut ids = Vec::new();
            self.matcher.matches(&record.key, &mut |id| ids.push(id));
            for watch_id in ids.into_iter().map(|id| i64::try_from(id).expect("a small id")) {
                let Watcher { interest, next, .. } = &self.watchers[&watch_id];
                if record.revision.main < *next || !interest.lets_through(record) {
                    continue;
                }
                let previous =
                    if interest.prev_kv { view.previous(record).expect("no fault") } else { None };
                let response = responses.entry(watch_id).or_insert_with(|| WatchResponse {
                    header: header(record.revision.main),
                    watch_id,
                    ..Default::default()
                });
                response.events.push(event_of(record, previous.as_ref()));
            }
        }
        responses
    }
}

fn entry(watch_id: i64) -> u64 {
    u64::try_from(watch_id).expect("ids begin at 0")
}
