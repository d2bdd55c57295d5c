//! Messages of watch streams, in an order that does not depend on timing.
//!
//! Servers split events into messages as they like, and serve watchers in any order. Only the order
//! of each watcher's events matters. So each watcher's messages are joined, except for fragments,
//! whose boundaries are part of the answer.

use std::mem;
use std::time::{Duration, Instant};

use quorate_proto::etcdserverpb::watch_request::RequestUnion;
use quorate_proto::etcdserverpb::{
    WatchCancelRequest, WatchCreateRequest, WatchProgressRequest, WatchRequest, WatchResponse,
};

use crate::print::Printer;
use crate::target::{Answer, Failure, Target};

/// The watch id of progress messages for all watchers of a stream.
const EVERY_WATCH: i64 = -1;
/// How long to wait for a progress message, which may never come, before it is requested again.
const ASK_AGAIN: Duration = Duration::from_millis(50);
/// How long any wait may take in all.
const LIMIT: Duration = Duration::from_secs(30);

fn is_progress(response: &WatchResponse) -> bool {
    !response.created && !response.canceled && response.events.is_empty()
}

fn request(union: RequestUnion) -> WatchRequest {
    WatchRequest { request_union: Some(union) }
}

fn late(what: &str) -> Failure {
    Failure::Broken(format!("{what}: not within {LIMIT:?}"))
}

/// A watch stream, as scripts use it.
pub(crate) struct Stream<'a> {
    pub(crate) target: &'a mut dyn Target,
    pub(crate) name: &'a str,
    /// Messages received while waiting for an answer.
    pub(crate) held: &'a mut Vec<WatchResponse>,
}

impl Stream<'_> {
    fn send(&mut self, union: RequestUnion) -> Answer<()> {
        self.target.watch(self.name, request(union))
    }

    fn next(&mut self, what: &str) -> Answer<WatchResponse> {
        self.target.watched(self.name, LIMIT)?.ok_or_else(|| late(what))
    }

    /// Creates a watcher and prints the answer.
    pub(crate) fn create(
        &mut self,
        create: WatchCreateRequest,
        printer: &mut Printer,
    ) -> Answer<()> {
        self.send(RequestUnion::CreateRequest(create))?;
        let answer = self.answer("the answer to a create request", |m| m.created)?;
        let early = |m: &WatchResponse| m.watch_id == answer.watch_id && !m.events.is_empty();
        if self.held.iter().any(early) {
            let why = "events came before their watcher was created";
            return Err(Failure::Broken(why.to_owned()));
        }
        printer.notice(&answer);
        Ok(())
    }

    /// Cancels an existing watcher and prints the answer.
    pub(crate) fn cancel(&mut self, watch_id: i64, printer: &mut Printer) -> Answer<()> {
        self.send_cancel(watch_id)?;
        let is_answer = |m: &WatchResponse| m.canceled && m.watch_id == watch_id;
        printer.notice(&self.answer("the answer to a cancel request", is_answer)?);
        Ok(())
    }

    /// Sends a cancel request without waiting for an answer.
    pub(crate) fn send_cancel(&mut self, watch_id: i64) -> Answer<()> {
        self.send(RequestUnion::CancelRequest(WatchCancelRequest { watch_id }))
    }

    /// Sends a progress request.
    pub(crate) fn ask_progress(&mut self) -> Answer<()> {
        self.send(RequestUnion::ProgressRequest(WatchProgressRequest {}))
    }

    /// Sends a request without content.
    pub(crate) fn send_nothing(&mut self) -> Answer<()> {
        self.target.watch(self.name, WatchRequest::default())
    }

    /// The next message that `is_answer` accepts; others are held for later.
    fn answer(
        &mut self,
        what: &str,
        is_answer: impl Fn(&WatchResponse) -> bool,
    ) -> Answer<WatchResponse> {
        loop {
            match self.next(what)? {
                message if is_answer(&message) => return Ok(message),
                // A late progress message: the requester has already got a similar one.
                message if is_progress(&message) => {}
                message => self.held.push(message),
            }
        }
    }

    /// Prints all events up to main revision `revision`: requests progress until the stream has
    /// reached it. Prints the progress message itself only if `with_progress`.
    pub(crate) fn events(
        &mut self,
        revision: i64,
        with_progress: bool,
        printer: &mut Printer,
    ) -> Answer<()> {
        let end = Instant::now() + LIMIT;
        let mut messages = mem::take(self.held);
        loop {
            self.ask_progress()?;
            while let Some(message) = self.target.watched(self.name, ASK_AGAIN)? {
                let reached = message.header.as_ref().map_or(0, |header| header.revision);
                let all = is_progress(&message) && message.watch_id == EVERY_WATCH;
                if !all {
                    messages.push(message);
                } else if reached >= revision {
                    print(messages, printer);
                    if with_progress {
                        printer.notice(&message);
                    }
                    return Ok(());
                }
            }
            if Instant::now() > end {
                print(messages, printer);
                return Err(late("a stream's progress"));
            }
        }
    }

    /// Prints messages until there were `count` events and notices.
    pub(crate) fn wait_for(&mut self, count: usize, printer: &mut Printer) -> Answer<()> {
        let weight = |message: &WatchResponse| message.events.len().max(1);
        let mut messages = mem::take(self.held);
        let mut seen: usize = messages.iter().map(weight).sum();
        while seen < count {
            let message = self.next("an event or notice")?;
            seen += weight(&message);
            messages.push(message);
        }
        print(messages, printer);
        Ok(())
    }
}

/// Prints messages grouped by watcher; the messages of one watcher stay in the order of arrival.
fn print(mut messages: Vec<WatchResponse>, printer: &mut Printer) {
    messages.sort_by_key(|message| message.watch_id);
    let mut joined: Vec<WatchResponse> = Vec::new();
    for message in messages {
        match joined.last_mut() {
            Some(last) if can_join(last, &message) => {
                last.header = message.header;
                last.events.extend(message.events);
            }
            _ => joined.push(message),
        }
    }
    for message in joined {
        if message.events.is_empty() { printer.notice(&message) } else { printer.events(&message) }
    }
}

fn can_join(a: &WatchResponse, b: &WatchResponse) -> bool {
    let plain = |m: &WatchResponse| {
        !m.fragment && !m.created && !m.canceled && !m.events.is_empty() && m.compact_revision == 0
    };
    a.watch_id == b.watch_id && plain(a) && plain(b)
}
