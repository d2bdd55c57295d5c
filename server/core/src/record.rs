//! One version of one key, as it lies in memory and on disk.

use bytes::Bytes;
use quorate_proto::mvccpb::KeyValue;

use crate::Revision;

/// One version of one key.
///
/// A tombstone is a record with `version` 0: it has neither value nor lease nor create revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The key.
    pub key: Bytes,
    /// The value; empty in a tombstone.
    pub value: Bytes,
    /// Where in history this version was written.
    pub revision: Revision,
    /// Main revision of the first version since the key was last absent.
    pub create_revision: i64,
    /// 1 for the version that created the key, one more for each that follows; 0 in a tombstone.
    pub version: i64,
    /// The lease the key is attached to; 0 for none.
    pub lease: i64,
    /// The version of the key that this one superseded, tombstones included.
    pub previous: Revision,
}

impl Record {
    /// Whether this version says that the key was deleted.
    pub fn is_tombstone(&self) -> bool {
        self.version == 0
    }

    /// Whether this version brought the key into being.
    pub fn is_create(&self) -> bool {
        self.version == 1
    }

    /// By how much this version changed the number of keys.
    pub fn count_change(&self) -> i64 {
        match self.version {
            0 => -1,
            1 => 1,
            _ => 0,
        }
    }

    /// Bytes of key and value.
    pub fn weight(&self) -> usize {
        self.key.len() + self.value.len()
    }

    /// A view of the record that owns nothing.
    pub fn as_ref(&self) -> RecordRef<'_> {
        RecordRef {
            key: &self.key,
            value: &self.value,
            revision: self.revision,
            create_revision: self.create_revision,
            version: self.version,
            lease: self.lease,
            previous: self.previous,
        }
    }

    /// The message clients see. A tombstone shows its key and revision alone, as in a DELETE event.
    pub fn to_key_value(&self) -> KeyValue {
        KeyValue {
            key: self.key.clone(),
            create_revision: self.create_revision,
            mod_revision: self.revision.main,
            version: self.version,
            value: self.value.clone(),
            lease: self.lease,
        }
    }
}

/// A [`Record`] whose key and value are borrowed, for instance from a page of the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordRef<'a> {
    /// The key.
    pub key: &'a [u8],
    /// The value; empty in a tombstone.
    pub value: &'a [u8],
    /// Where in history this version was written.
    pub revision: Revision,
    /// Main revision of the first version since the key was last absent.
    pub create_revision: i64,
    /// Count of versions since the key was created; 0 in a tombstone.
    pub version: i64,
    /// The lease the key is attached to; 0 for none.
    pub lease: i64,
    /// The version of the key that this one superseded.
    pub previous: Revision,
}

impl RecordRef<'_> {
    /// Whether this version says that the key was deleted.
    pub fn is_tombstone(&self) -> bool {
        self.version == 0
    }

    /// Copies key and value.
    pub fn to_owned(&self) -> Record {
        Record {
            key: Bytes::copy_from_slice(self.key),
            value: Bytes::copy_from_slice(self.value),
            revision: self.revision,
            create_revision: self.create_revision,
            version: self.version,
            lease: self.lease,
            previous: self.previous,
        }
    }
}
