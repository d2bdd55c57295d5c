//! One version of one key, in memory and on disk.

use bytes::Bytes;
use quorate_proto::mvccpb::KeyValue;

use crate::Revision;

/// One version of one key.
///
/// A tombstone is a record with `version` 0. It has no value, no lease and no create revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The key.
    pub key: Bytes,
    /// The value; empty in a tombstone.
    pub value: Bytes,
    /// The revision that wrote this version.
    pub revision: Revision,
    /// Main revision of the put that created the key; 0 in a tombstone.
    pub create_revision: i64,
    /// Number of the version, counted from the key's creation: 1 for the first, 0 for a tombstone.
    pub version: i64,
    /// The lease the key is attached to; 0 for none.
    pub lease: i64,
    /// Revision of the version or tombstone that this version superseded; `Revision::NONE` if there
    /// was none.
    pub previous: Revision,
}

impl Record {
    /// Whether this version is a deletion of the key.
    pub fn is_tombstone(&self) -> bool {
        self.version == 0
    }

    /// Whether this version created the key.
    pub fn is_create(&self) -> bool {
        self.version == 1
    }

    /// By how much this version changes the number of existing keys: 1, 0 or -1.
    pub fn count_change(&self) -> i64 {
        match self.version {
            0 => -1,
            1 => 1,
            _ => 0,
        }
    }

    /// Bytes of the key and value.
    pub fn weight(&self) -> usize {
        self.key.len() + self.value.len()
    }

    /// Borrows the record.
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

    /// The message for clients. For a tombstone, it has only the key and the revision, as in a
    /// DELETE event.
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
    /// The revision that wrote this version.
    pub revision: Revision,
    /// Main revision of the put that created the key; 0 in a tombstone.
    pub create_revision: i64,
    /// Number of the version, counted from the key's creation: 1 for the first, 0 for a tombstone.
    pub version: i64,
    /// The lease the key is attached to; 0 for none.
    pub lease: i64,
    /// Revision of the version or tombstone that this version superseded; `Revision::NONE` if there
    /// was none.
    pub previous: Revision,
}

impl RecordRef<'_> {
    /// Whether this version is a deletion of the key.
    pub fn is_tombstone(&self) -> bool {
        self.version == 0
    }

    /// Copies the record with its key and value.
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
