//! All versions of all keys since the compacted revision: the expected state of the store.
//!
//! The model takes in the events of audits and checks that each one follows from those before it.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use quorate_proto::mvccpb::event::EventType;
use quorate_proto::mvccpb::{Event, KeyValue};

use super::violation::{Rule, Violation, ensure};

/// The revision of an empty store.
const FIRST_REVISION: i64 = 1;

/// A version of a key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Version {
    /// The revision that wrote it.
    pub revision: i64,
    /// The revision that created the key.
    pub create_revision: i64,
    /// The number of puts since its creation; 0 for a deletion.
    pub version: i64,
    /// The lease of the key; 0 for none.
    pub lease: i64,
    /// The value.
    pub value: Bytes,
}

impl Version {
    /// Whether this version is a deletion.
    pub fn is_tombstone(&self) -> bool {
        self.version == 0
    }

    /// The wire form.
    pub fn key_value(&self, key: &Bytes) -> KeyValue {
        KeyValue {
            key: key.clone(),
            create_revision: self.create_revision,
            mod_revision: self.revision,
            version: self.version,
            value: self.value.clone(),
            lease: self.lease,
        }
    }

    /// The version after a put at `revision` on top of `before`.
    pub fn put(before: Option<&Self>, revision: i64, value: Bytes, lease: i64) -> Self {
        let alive = before.filter(|before| !before.is_tombstone());
        Self {
            revision,
            create_revision: alive.map_or(revision, |before| before.create_revision),
            version: alive.map_or(1, |before| before.version + 1),
            lease,
            value,
        }
    }

    /// The version after a deletion at `revision`.
    pub fn tombstone(revision: i64) -> Self {
        Self { revision, ..Self::default() }
    }
}

/// One key's change at a revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The key.
    pub key: Bytes,
    /// The version before, if the key existed.
    pub before: Option<Version>,
    /// The version from this revision on.
    pub after: Version,
}

impl Change {
    /// The watch event of this change, with the previous value when `prev_kv` is set.
    pub fn event(&self, prev_kv: bool) -> Event {
        let kind = if self.after.is_tombstone() { EventType::Delete } else { EventType::Put };
        let before = self.before.as_ref().filter(|_| prev_kv);
        Event {
            r#type: kind as i32,
            kv: Some(self.after.key_value(&self.key)),
            prev_kv: before.map(|before| before.key_value(&self.key)),
        }
    }
}

/// The key range of a request.
#[derive(Clone, Copy, Debug)]
pub struct Keys<'a> {
    key: &'a [u8],
    range_end: &'a [u8],
}

impl<'a> Keys<'a> {
    /// A range in the notation of etcd's requests.
    pub fn new(key: &'a [u8], range_end: &'a [u8]) -> Self {
        Self { key, range_end }
    }

    /// Whether `key` is in the range.
    pub fn contains(&self, key: &[u8]) -> bool {
        match self.range_end {
            [] => key == self.key,
            [0] => key >= self.key,
            end => key >= self.key && key < end,
        }
    }
}

/// The versions of the store from the compacted revision on.
#[derive(Clone, Debug)]
pub struct Model {
    compacted: i64,
    revision: i64,
    /// The changes of each revision above the compacted one.
    log: VecDeque<Vec<Change>>,
    versions: BTreeMap<Bytes, Vec<Version>>,
    bytes: usize,
}

impl Default for Model {
    fn default() -> Self {
        Self {
            compacted: FIRST_REVISION,
            revision: FIRST_REVISION,
            log: VecDeque::new(),
            versions: BTreeMap::new(),
            bytes: 0,
        }
    }
}

impl Model {
    /// The last revision.
    pub fn revision(&self) -> i64 {
        self.revision
    }

    /// The compacted revision. Earlier history is dropped.
    pub fn compacted(&self) -> i64 {
        self.compacted
    }

    /// Bytes of all values in the retained history.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The changes of a revision; empty for a revision outside the retained history.
    pub fn changes(&self, revision: i64) -> &[Change] {
        let place = usize::try_from(revision - self.compacted - 1).ok();
        place.and_then(|place| self.log.get(place)).map_or(&[], Vec::as_slice)
    }

    /// The key at a revision; `None` when it does not exist.
    pub fn get(&self, key: &[u8], revision: i64) -> Option<&Version> {
        let versions = self.versions.get(key)?;
        let behind = versions.partition_point(|version| version.revision <= revision);
        let version = versions.get(behind.checked_sub(1)?)?;
        (!version.is_tombstone()).then_some(version)
    }

    /// The keys that exist at a revision, ascending.
    pub fn range<'a>(
        &'a self,
        keys: Keys<'a>,
        revision: i64,
    ) -> impl Iterator<Item = (&'a Bytes, &'a Version)> {
        let within = self.versions.keys().filter(move |key| keys.contains(key));
        within.filter_map(move |key| Some((key, self.get(key, revision)?)))
    }

    /// The keys attached to a lease at a revision, ascending.
    pub fn attached(&self, lease: i64, revision: i64) -> Vec<Bytes> {
        let all = self.range(Keys::new(&[], &[0]), revision);
        all.filter(|(_, version)| version.lease == lease).map(|(key, _)| key.clone()).collect()
    }

    /// Appends events, which must start right behind the last revision.
    ///
    /// # Errors
    /// An event that does not follow from the versions before it.
    pub fn extend(&mut self, events: &[Event]) -> Result<(), Violation> {
        let revision_of = |event: &Event| event.kv.as_ref().map_or(0, |kv| kv.mod_revision);
        for written in events.chunk_by(|a, b| revision_of(a) == revision_of(b)) {
            let found = revision_of(&written[0]);
            let next = self.revision + 1;
            ensure(found == next, Rule::BrokenEvents, || {
                format!("revision {next} is due, but the next event is of {found}")
            })?;
            let mut changes: Vec<Change> = Vec::with_capacity(written.len());
            for event in written {
                let change = self.follow(event)?;
                let twice = changes.iter().any(|other| other.key == change.key);
                ensure(!twice, Rule::BrokenEvents, || {
                    format!("revision {next} changes {:?} twice", change.key)
                })?;
                changes.push(change);
            }
            self.append(changes);
        }
        Ok(())
    }

    /// The change that an event of the next revision describes.
    fn follow(&self, event: &Event) -> Result<Change, Violation> {
        let kv = event.kv.as_ref().expect("it has a revision");
        let before = self.get(&kv.key, self.revision).cloned();
        let after = match event.r#type() {
            EventType::Put => {
                Version::put(before.as_ref(), kv.mod_revision, kv.value.clone(), kv.lease)
            }
            EventType::Delete => Version::tombstone(kv.mod_revision),
        };
        let exists = before.is_some();
        let change = Change { key: kv.key.clone(), before, after };
        let due = change.event(true);
        let deletes_nothing = event.r#type() == EventType::Delete && !exists;
        ensure(*event == due && !deletes_nothing, Rule::BrokenEvents, || {
            format!("event {event:?} cannot follow from what was before; {due:?} could")
        })?;
        Ok(change)
    }

    fn append(&mut self, changes: Vec<Change>) {
        self.revision += 1;
        for change in &changes {
            self.bytes += change.after.value.len();
            self.versions.entry(change.key.clone()).or_default().push(change.after.clone());
        }
        self.log.push_back(changes);
    }

    /// Drops the history that a compaction at `revision` removes.
    pub fn compact(&mut self, revision: i64) {
        let revision = revision.min(self.revision);
        while self.compacted < revision {
            self.compacted += 1;
            for change in self.log.pop_front().into_iter().flatten() {
                self.bytes -= change.after.value.len();
            }
        }
        self.versions.retain(|_, versions| {
            let behind = versions.partition_point(|version| version.revision <= revision);
            versions.drain(..behind.saturating_sub(1));
            versions.len() > 1 || versions.last().is_some_and(|version| !version.is_tombstone())
        });
    }
}
