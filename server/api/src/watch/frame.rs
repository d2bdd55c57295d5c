//! The messages of a watch stream. They consist of encoded events that many streams share.

use std::sync::Arc;

use bytes::Bytes;
use prost::Message as _;
use quorate_core::Record;
use quorate_core::watch::event::append_event;
use quorate_proto::etcdserverpb::{ResponseHeader, WatchResponse};
use quorate_proto::mvccpb as pb;

/// Size up to which events of several revisions are put into one message. For each stream whose
/// client does not read, the transport buffers at least one message.
pub(crate) const MESSAGE_BYTES: usize = 64 << 10;

/// Encoded events, shared by all watchers that want them.
pub(crate) type Event = Arc<[u8]>;

/// Encodes the event of the write that made `record`.
pub(crate) fn encode(record: &Record, previous: Option<&Record>) -> Event {
    let mut event = Vec::new();
    append_event(record, previous, &mut event);
    event.into()
}

/// Bytes of a part of a batch in addition to its events.
pub(crate) const PART_BYTES: usize = size_of::<Part>() + 2 * size_of::<usize>();

/// One event of a batch, or several events of the same main revision.
#[derive(Debug)]
struct Part {
    events: Event,
    /// Main revision of the events.
    revision: i64,
    /// Bytes of the events of all parts up to and including this one.
    end: usize,
    /// Number of events of all parts up to and including this one.
    count: usize,
}

/// Events for all watchers with the same interest.
#[derive(Debug, Default)]
pub(crate) struct Batch(Vec<Part>);

impl Batch {
    /// Adds an event of main revision `revision`.
    pub(crate) fn push(&mut self, event: Event, revision: i64) {
        self.push_many(event, 1, revision);
    }

    /// Adds `count` events of main revision `revision`. They are never sent in different messages.
    pub(crate) fn push_many(&mut self, events: Event, count: usize, revision: i64) {
        let end = self.size() + events.len();
        let count = self.count(self.len()) + count;
        self.0.push(Part { events, revision, end, count });
    }

    /// Number of parts.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Bytes of all events.
    pub(crate) fn size(&self) -> usize {
        self.start(self.len())
    }

    /// Main revision of the first event; 0 without events.
    pub(crate) fn first_revision(&self) -> i64 {
        self.0.first().map_or(0, |part| part.revision)
    }

    /// Main revision of the last event; 0 without events.
    pub(crate) fn last_revision(&self) -> i64 {
        self.0.last().map_or(0, |part| part.revision)
    }

    /// Index of the first part at or above a main revision.
    pub(crate) fn first_at(&self, revision: i64) -> usize {
        self.0.partition_point(|part| part.revision < revision)
    }

    /// Bytes of the events before a part.
    fn start(&self, part: usize) -> usize {
        part.checked_sub(1).map_or(0, |before| self.0[before].end)
    }

    /// Number of the events before a part.
    fn count(&self, part: usize) -> usize {
        part.checked_sub(1).map_or(0, |before| self.0[before].count)
    }
}

/// One message of a watch stream.
#[derive(Debug)]
pub(crate) enum Frame {
    /// A message without events: created, canceled, progress.
    Control(Box<WatchResponse>),
    /// Events of one watcher.
    Events(Events),
}

/// Events for one watcher: a part of a batch.
#[derive(Debug)]
pub(crate) struct Events {
    watch_id: i64,
    header: ResponseHeader,
    batch: Arc<Batch>,
    /// The parts of the batch.
    first: usize,
    end: usize,
    /// Whether the next message has more events of the same revisions.
    fragment: bool,
}

impl Events {
    /// The events of `batch` from part `first` on.
    pub(crate) fn new(
        watch_id: i64,
        header: ResponseHeader,
        batch: Arc<Batch>,
        first: usize,
    ) -> Self {
        let end = batch.len();
        Self { watch_id, header, batch, first, end, fragment: false }
    }

    /// Number of events.
    pub(crate) fn len(&self) -> usize {
        self.batch.count(self.end) - self.batch.count(self.first)
    }

    /// The message without its events.
    pub(crate) fn head(&self) -> WatchResponse {
        WatchResponse {
            header: Some(self.header),
            watch_id: self.watch_id,
            fragment: self.fragment,
            ..Default::default()
        }
    }

    /// The header of the message.
    pub(crate) fn header(&self) -> ResponseHeader {
        self.header
    }

    /// The events. Their keys and values share the memory of the encoded events.
    pub(crate) fn decoded(&self) -> impl Iterator<Item = pb::Event> {
        self.encoded().flat_map(|events| {
            let message = WatchResponse::decode(Bytes::from_owner(events.clone()));
            message.expect("`encode` made it").events
        })
    }

    /// The events, encoded as fields `events` of a `WatchResponse`.
    pub(crate) fn encoded(&self) -> impl Iterator<Item = &Event> {
        self.batch.0[self.first..self.end].iter().map(|part| &part.events)
    }

    /// Bytes of the events.
    pub(crate) fn size(&self) -> usize {
        self.batch.start(self.end) - self.batch.start(self.first)
    }

    /// Splits the events into messages. Without a limit it is one message. With a limit, which a
    /// watcher that allows fragments has, each message is below `limit` bytes or has one part of
    /// the batch, and all but the last are marked as fragments.
    pub(crate) fn frames(self, limit: Option<usize>) -> Vec<Frame> {
        let Some(limit) = limit.filter(|limit| self.size() >= *limit && self.end - self.first > 1)
        else {
            return vec![Frame::Events(self)];
        };
        let mut pieces = Vec::new();
        let mut first = self.first;
        while first < self.end {
            let start = self.batch.start(first);
            let mut end = first + 1;
            while end < self.end && self.batch.start(end + 1) - start < limit {
                end += 1;
            }
            let fragment = end < self.end;
            let watch_id = self.watch_id;
            let header = self.header;
            let batch = self.batch.clone();
            pieces.push(Frame::Events(Self { watch_id, header, batch, first, end, fragment }));
            first = end;
        }
        pieces
    }
}

impl Frame {
    /// A message without events.
    pub(crate) fn control(response: WatchResponse) -> Self {
        Self::Control(Box::new(response))
    }

    /// Number of events in the message.
    pub(crate) fn events(&self) -> usize {
        match self {
            Self::Control(_) => 0,
            Self::Events(events) => events.len(),
        }
    }

    /// Bytes of memory that the message counts in a queue.
    pub(crate) fn size(&self) -> usize {
        match self {
            Self::Control(_) => size_of::<WatchResponse>(),
            Self::Events(events) => events.size() + (events.end - events.first) * PART_BYTES,
        }
    }
}

/// The key of a watch request. As in etcd, an empty key means the smallest key, `\0`.
pub(crate) fn watched_key(key: &Bytes) -> Bytes {
    if key.is_empty() { Bytes::from_static(&[0]) } else { key.clone() }
}

#[cfg(test)]
mod tests {
    use quorate_core::Revision;

    use super::*;

    fn batch(sizes: &[usize]) -> Arc<Batch> {
        let mut batch = Batch::default();
        for (sub, size) in (0..).zip(sizes) {
            let record = Record {
                key: Bytes::from_static(b"k"),
                value: vec![b'v'; *size].into(),
                revision: Revision::new(7 + i64::from(sub / 2), sub % 2),
                create_revision: 7,
                version: 1,
                lease: 0,
                previous: Revision::NONE,
            };
            batch.push(encode(&record, None), record.revision.main);
        }
        Arc::new(batch)
    }

    #[test]
    fn fragments_cover_all_events_below_the_limit() {
        for limit in [1, 50, 200, 1000, 5000] {
            let header = ResponseHeader::default();
            let whole = Events::new(3, header, batch(&[10, 300, 5, 5, 5, 90, 700]), 0);
            let count = whole.len();
            let size = whole.size();
            let pieces = whole.frames(Some(limit));
            let pieces: Vec<&Events> = pieces
                .iter()
                .map(|frame| match frame {
                    Frame::Events(events) => events,
                    Frame::Control(_) => panic!("events only"),
                })
                .collect();
            assert_eq!(pieces.iter().map(|piece| piece.len()).sum::<usize>(), count);
            assert_eq!(pieces.iter().map(|piece| piece.size()).sum::<usize>(), size);
            let marks: Vec<bool> = pieces.iter().map(|piece| piece.fragment).collect();
            assert!(marks[..marks.len() - 1].iter().all(|mark| *mark) && !marks[marks.len() - 1]);
            assert!(pieces.iter().all(|piece| piece.size() < limit || piece.len() == 1));
        }
    }

    #[test]
    fn events_are_found_by_revision() {
        let batch = batch(&[1; 6]);
        assert_eq!([6, 7, 8, 9, 10].map(|r| batch.first_at(r)), [0, 0, 2, 4, 6]);
        assert_eq!((batch.first_revision(), batch.last_revision()), (7, 9));
    }
}
