//! Every order in which those who share an outbox can take their turns, as far as a few messages
//! go. All that is shared lies under one lock, so that a turn is what is done under it once.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Wake;

use bytes::Bytes;
use futures_util::Stream as _;
use quorate_core::{Record, Revision};
use quorate_raft::Budget;

use super::super::frame::{Batch, Events, encode};
use super::*;

/// How many turns are taken in every order. What is left then is done in a fixed one.
const TURNS: u32 = 11;
const WATCH: i64 = 3;
/// Less than the outbox would take by itself when messages are large.
const BUDGET: usize = 600;

/// Whoever takes a turn.
#[derive(Clone, Copy, Debug)]
enum Who {
    /// The hub tells of one more revision.
    Hub,
    /// The connection asks for a message, if it was told that there may be one.
    Reader,
    /// The stream's task does its next step.
    Task,
}

const ALL: [Who; 3] = [Who::Hub, Who::Reader, Who::Task];

/// What the stream's task does next; see `WatchStream::serve`.
#[derive(Clone, Copy, Debug)]
enum Step {
    TakeLagging,
    LookForRoom,
    CatchUp,
    Join,
    Wait,
}

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

struct World {
    outbox: Outbox,
    reader: Reader,
    reader_woken: Arc<Woken>,
    step: Step,
    /// Revisions that the hub has told of.
    told: i64,
    /// Whether the watcher is with the hub.
    keeps_up: bool,
    /// While it is behind: what it has not been sent.
    behind: Option<i64>,
    /// The last revision that the client has.
    seen: i64,
    /// Bytes of each event's value.
    size: usize,
    /// Revisions read from history in one go.
    piece: i64,
}

fn frame(revision: i64, size: usize) -> Frame {
    let record = Record {
        key: Bytes::from_static(b"k"),
        value: vec![b'v'; size].into(),
        revision: Revision::new(revision, 0),
        create_revision: revision,
        version: 1,
        lease: 0,
        previous: Revision::NONE,
    };
    let mut batch = Batch::default();
    batch.push(encode(&record, None), revision);
    let header = quorate_proto::etcdserverpb::ResponseHeader { revision, ..Default::default() };
    Frame::Events(Events::new(WATCH, header, Arc::new(batch), 0))
}

impl World {
    fn new(metrics: WatchMetrics, limits: Limits, size: usize, piece: i64) -> Self {
        let account = Budget::new(BUDGET).account();
        let outbox = Outbox::with_limits(metrics, &account, limits);
        Self {
            reader: Reader(outbox.clone()),
            outbox,
            reader_woken: Arc::new(Woken(AtomicBool::new(true))),
            step: Step::TakeLagging,
            told: 0,
            keeps_up: true,
            behind: None,
            seen: 0,
            size,
            piece,
        }
    }

    /// Takes a turn; false when there was nothing to do.
    fn turn(&mut self, who: Who) -> bool {
        match who {
            Who::Hub => self.tell(),
            Who::Reader => self.read(),
            Who::Task => self.work(),
        }
    }

    fn tell(&mut self) -> bool {
        self.told += 1;
        if self.keeps_up {
            let frames = vec![frame(self.told, self.size)];
            self.keeps_up = self.outbox.offer(frames, WATCH, self.told);
        }
        true
    }

    fn read(&mut self) -> bool {
        if !self.reader_woken.0.swap(false, Ordering::Relaxed) {
            return false;
        }
        let waker = self.reader_woken.clone().into();
        match pin!(&mut self.reader).poll_next(&mut Context::from_waker(&waker)) {
            Poll::Ready(Some(Ok(Frame::Events(events)))) => {
                assert_eq!(events.revision(), self.seen + 1, "no gap and nothing twice");
                self.seen += 1;
                self.reader_woken.0.store(true, Ordering::Relaxed);
            }
            Poll::Ready(other) => panic!("{other:?}"),
            Poll::Pending => {}
        }
        true
    }

    fn work(&mut self) -> bool {
        self.step = match self.step {
            Step::TakeLagging => {
                for lagging in self.outbox.take_lagging() {
                    self.behind = Some(lagging.next);
                }
                Step::LookForRoom
            }
            Step::LookForRoom if self.outbox.has_room() && self.behind.is_some() => Step::CatchUp,
            Step::LookForRoom => Step::Wait,
            Step::CatchUp => {
                let from = self.behind.expect("it is behind");
                let reached = self.told.min(from + self.piece - 1);
                (from..=reached).for_each(|r| self.outbox.push(frame(r, self.size)));
                self.behind = Some(from.max(reached + 1));
                Step::Join
            }
            Step::Join => {
                if self.behind.is_some_and(|from| from > self.told) {
                    (self.behind, self.keeps_up) = (None, true);
                }
                Step::TakeLagging
            }
            Step::Wait => {
                let context = &mut Context::from_waker(Waker::noop());
                match pin!(self.outbox.changed()).poll(context) {
                    Poll::Ready(()) => Step::TakeLagging,
                    Poll::Pending => return false,
                }
            }
        };
        true
    }
}

/// Takes `TURNS` turns in every order, and lets the reader and the task go on after each until they
/// wait for each other. Then the client must have everything.
fn all_orders(limits: Limits, size: usize, piece: i64) {
    let metrics = crate::metrics::Metrics::new(1).watch;
    for order in 0..3u32.pow(TURNS) {
        let mut world = World::new(metrics.clone(), limits, size, piece);
        let turns = (0..TURNS).map(|turn| ALL[(order / 3u32.pow(turn) % 3) as usize]);
        let turns: Vec<Who> = turns.collect();
        for who in &turns {
            world.turn(*who);
        }
        while world.turn(Who::Reader) | world.turn(Who::Task) {}
        assert_eq!(world.seen, world.told, "nobody goes on after {turns:?}");
        let held = world.outbox.inner.lock().held.bytes();
        assert_eq!(held, 0, "nothing waits any more after {turns:?}");
    }
}

fn limits(bytes: usize, frames: usize) -> Limits {
    let low = Size { bytes: bytes / 2, frames: frames / 2 };
    Limits { full: Size { bytes, frames }, low }
}

#[test]
fn nobody_waits_for_ever_when_messages_are_too_many() {
    all_orders(limits(usize::MAX, 4), 1, 1);
    all_orders(limits(usize::MAX, 2), 1, 3);
}

#[test]
fn nobody_waits_for_ever_when_messages_are_too_large() {
    all_orders(limits(4 * 120, 1000), 100, 1);
    all_orders(limits(2 * 120, 1000), 100, 3);
}
