//! HashKV: etcd's hash over the history of keys, bit for bit.
//!
//! The hash is a CRC-32C over the name of etcd's bucket and then, ascending by revision, over each
//! version's key in that bucket and its message. It leaves out versions that a compaction removes,
//! even if they are not deleted yet, so that members agree although they flush and delete at
//! different times.

use std::collections::{BTreeMap, BTreeSet};

use prost::Message;
use quorate_proto::mvccpb::KeyValue;

use super::view::View;
use crate::{Error, Fault, KeyRange, Record, Refusal, Revision};

/// Name of the bucket in which etcd keeps versions.
const BUCKET: &[u8] = b"key";
/// Versions read from history at once.
const CHUNK: usize = 1024;

/// Approximate memory of a revision in the set of superseded versions.
const SUPERSEDED_BYTES: usize = 32;

/// A hash and the revisions it covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyValueHash {
    /// The hash.
    pub hash: u32,
    /// The compacted revision when the hash was computed; -1 for none.
    pub compact_revision: i64,
    /// The last revision covered.
    pub revision: i64,
}

impl View {
    /// Hashes the history up to `revision`; 0 means the latest. As in etcd, a negative revision is
    /// valid and its history is empty.
    ///
    /// # Errors
    /// The revision is compacted or in the future, or the database cannot be read.
    pub fn hash_kv(&self, revision: i64) -> Result<KeyValueHash, Error> {
        if revision > self.revision {
            return Err(Refusal::FutureRevision.into());
        }
        if revision > 0 && revision < self.compacted {
            return Err(Refusal::Compacted.into());
        }
        let mut crc = crc32c::crc32c(BUCKET);
        let compact_revision = self.compacted;
        if revision < 0 {
            return Ok(KeyValueHash { hash: crc, compact_revision, revision });
        }
        let at = if revision == 0 { self.revision } else { revision };
        let gone = self.superseded(at)?;
        let mut buffer = Vec::new();
        self.each_version(at, &mut |record| {
            let compacted = record.revision.main <= self.compacted;
            if compacted && (record.is_tombstone() || gone.contains(&record.revision)) {
                return;
            }
            crc = hash_version(crc, record, &mut buffer);
        })?;
        Ok(KeyValueHash { hash: crc, compact_revision, revision: at })
    }

    /// Versions at or below the compacted revision that have a successor. By etcd's rule, only
    /// successors up to `at` count. If etcd keeps no key at `at`, only those up to the compacted
    /// revision count.
    fn superseded(&self, at: i64) -> Result<BTreeSet<Revision>, Fault> {
        let mut gone = BTreeSet::new();
        if self.compacted <= 0 {
            return Ok(gone);
        }
        let up_to = if self.keeps_any(at)? { at } else { self.compacted };
        self.each_version(up_to, &mut |record| {
            if record.previous.main > 0 && record.previous.main <= self.compacted {
                self.context.keep(SUPERSEDED_BYTES);
                gone.insert(record.previous);
            }
        })?;
        Ok(gone)
    }

    /// Whether etcd finds a key to keep at `at`. It does not find keys that were deleted and put
    /// again within revision `at`.
    fn keeps_any(&self, at: i64) -> Result<bool, Fault> {
        let mut put_again = BTreeMap::new();
        for record in self.stack.history(at, at, CHUNK)? {
            let again = !record.is_tombstone() && record.previous.main == at;
            put_again.insert(record.key, again);
        }
        let put_again = put_again.into_values().filter(|again| *again).count();
        let put_again = i64::try_from(put_again).expect("fewer keys than i64::MAX");
        Ok(self.count(&KeyRange::all(), at)? > put_again)
    }

    fn each_version(&self, to: i64, visit: &mut dyn FnMut(&Record)) -> Result<(), Fault> {
        let mut from = 1;
        while !self.context.is_cancelled() {
            let chunk = self.stack.history(from, to, CHUNK)?;
            let Some(last) = chunk.last() else { return Ok(()) };
            from = last.revision.main + 1;
            chunk.iter().for_each(&mut *visit);
        }
        Ok(())
    }
}

/// Adds a version as etcd stores it: its key in the bucket is `main _ sub`, with a `t` at the end
/// for a tombstone.
fn hash_version(crc: u32, record: &Record, buffer: &mut Vec<u8>) -> u32 {
    buffer.clear();
    buffer.extend_from_slice(&record.revision.main.to_be_bytes());
    buffer.push(b'_');
    buffer.extend_from_slice(&i64::from(record.revision.sub).to_be_bytes());
    let message = if record.is_tombstone() {
        buffer.push(b't');
        KeyValue { key: record.key.clone(), ..Default::default() }
    } else {
        record.to_key_value()
    };
    message.encode(buffer).expect("a vector grows");
    crc32c::crc32c_append(crc, buffer)
}
