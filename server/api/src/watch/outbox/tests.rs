//! Tests an outbox with a few messages in every order of turns of its three actors. All shared
//! state is under one lock, so a turn is the work of an actor under one acquisition of the lock.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Wake;

use bytes::Bytes;
use futures_util::Stream as _;
use quorate_core::{Record, Revision};
use quorate_raft::Budget;

use super::super::frame::{Batch, Events, PART_BYTES, encode};
use super::*;

/// Number of turns that are taken in every order. The remaining work is done in a fixed order.
const TURNS: u32 = 11;
const WATCH: i64 = 3;
/// Less than the limits of the outbox when messages are large.
const BUDGET: usize = 600 + 4 * PART_BYTES;

/// The actors.
#[derive(Clone, Copy, Debug)]
enum Actor {
    /// The hub offers one more revision.
    Hub,
    /// The connection polls for a message, if it has been woken.
    Reader,
    /// The stream's task does its next step.
    Task,
}

const ALL: [Actor; 3] = [Actor::Hub, Actor::Reader, Actor::Task];

/// The next step of the stream's task; see `WatchStream::serve`.
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
    /// The last revision of the hub.
    delivered: i64,
    /// Whether the watcher is synced, so that the hub serves it.
    keeps_up: bool,
    /// If the watcher is unsynced: the first revision that it has not been sent.
    behind: Option<i64>,
    /// The last revision that the client has received.
    seen: i64,
    /// Bytes of each event's value.
    size: usize,
    /// Revisions that one read of history returns.
    piece: i64,
    /// The hub leaves every revision that is a multiple of this to the stream's task.
    left: i64,
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
    fn new(metrics: WatchMetrics, limits: Limits, size: usize, piece: i64, left: i64) -> Self {
        let account = Budget::new(BUDGET).account();
        let outbox = Outbox::with_limits(metrics, &account, limits);
        Self {
            reader: Reader(outbox.clone()),
            outbox,
            reader_woken: Arc::new(Woken(AtomicBool::new(true))),
            step: Step::TakeLagging,
            delivered: 0,
            keeps_up: true,
            behind: None,
            seen: 0,
            size,
            piece,
            left,
        }
    }

    /// Takes a turn; returns false if the actor had nothing to do.
    fn turn(&mut self, actor: Actor) -> bool {
        match actor {
            Actor::Hub => self.deliver(),
            Actor::Reader => self.read(),
            Actor::Task => self.work(),
        }
    }

    fn deliver(&mut self) -> bool {
        self.delivered += 1;
        if self.keeps_up && self.delivered % self.left == 0 {
            self.outbox.fall_behind(WATCH, self.delivered);
            self.keeps_up = false;
        }
        if self.keeps_up {
            let frames = vec![frame(self.delivered, self.size)];
            self.keeps_up = self.outbox.offer(frames, WATCH, self.delivered);
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
                let revision = events.head().header.unwrap().revision;
                assert_eq!(revision, self.seen + 1, "no gap and nothing twice");
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
                let from = self.behind.expect("only unsynced watchers catch up");
                let reached = self.delivered.min(from + self.piece - 1);
                (from..=reached).for_each(|r| self.outbox.push(frame(r, self.size)));
                self.behind = Some(from.max(reached + 1));
                Step::Join
            }
            Step::Join => {
                if self.behind.is_some_and(|from| from > self.delivered) {
                    self.behind = None;
                    self.keeps_up = true;
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

/// Takes `TURNS` turns in every order. After each order, the reader and the task go on until both
/// wait. Then the client must have received everything.
fn all_orders(limits: Limits, size: usize, piece: i64, left: i64) {
    let metrics = crate::metrics::WatchMetrics::new();
    for order in 0..3u32.pow(TURNS) {
        let mut world = World::new(metrics.clone(), limits, size, piece, left);
        let turns = (0..TURNS).map(|turn| ALL[(order / 3u32.pow(turn) % 3) as usize]);
        let turns: Vec<Actor> = turns.collect();
        for actor in &turns {
            world.turn(*actor);
        }
        while world.turn(Actor::Reader) | world.turn(Actor::Task) {}
        assert_eq!(world.seen, world.delivered, "the stream is stuck after {turns:?}");
        let held = world.outbox.queue.lock().held.bytes();
        assert_eq!(held, 0, "an empty outbox holds memory after {turns:?}");
    }
}

fn limits(bytes: usize, frames: usize) -> Limits {
    let low = Size { bytes: bytes / 2, frames: frames / 2 };
    Limits { full: Size { bytes, frames }, low }
}

#[test]
fn the_stream_is_never_stuck_when_messages_are_too_many() {
    all_orders(limits(usize::MAX, 4), 1, 1, i64::MAX);
    all_orders(limits(usize::MAX, 2), 1, 3, i64::MAX);
}

#[test]
fn the_stream_is_never_stuck_when_messages_are_too_large() {
    let message = 120 + PART_BYTES;
    all_orders(limits(4 * message, 1000), 100, 1, i64::MAX);
    all_orders(limits(2 * message, 1000), 100, 3, i64::MAX);
}

#[test]
fn the_stream_is_never_stuck_when_the_hub_leaves_revisions_to_it() {
    all_orders(limits(usize::MAX, 4), 1, 1, 2);
    all_orders(limits(usize::MAX, 2), 1, 3, 3);
}
