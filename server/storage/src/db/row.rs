//! Rows of `latest` and `history`.
//!
//! ```text
//!   latest    key      -> crc | main | sub | create | version | lease | previous | flags | value
//!   history   revision -> crc | create | version | lease | previous | key length | key | value
//! ```
//!
//! Numbers are little endian and of fixed width. The checksum also covers the row's key, so that a
//! row under a wrong key is noticed. A value above [`INLINE_VALUE_BYTES_MAX`] is only in history.

use crc32c::{crc32c, crc32c_append};
use quorate_core::base::RecordHeader;
use quorate_core::{Fault, RecordRef, Revision};

use super::error::Problem;
use super::tables::RevisionKey;

/// Values up to this size are also in `latest`, so that ranges read them without a look-up in
/// history. Larger values are not written twice.
pub(super) const INLINE_VALUE_BYTES_MAX: usize = 1024;

const LATEST_LEN: usize = 4 + 12 + 8 + 8 + 8 + 12 + 1;
const HISTORY_LEN: usize = 4 + 8 + 8 + 8 + 12 + 4;
/// Flag in a row of `latest`: the value is in history.
const VALUE_IN_HISTORY: u8 = 1;

/// A row of `latest`, decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LatestRow {
    pub(super) header: RecordHeader,
    pub(super) previous: Revision,
    /// Whether the value is not in the row, but in history at `header.revision`.
    pub(super) value_in_history: bool,
}

impl LatestRow {
    /// Encodes the row of `record` into `out`.
    pub(super) fn encode(record: RecordRef<'_>, out: &mut Vec<u8>) {
        let inline = record.value.len() <= INLINE_VALUE_BYTES_MAX;
        out.clear();
        out.extend_from_slice(&[0; 4]);
        put_revision(out, record.revision);
        out.extend_from_slice(&record.create_revision.to_le_bytes());
        out.extend_from_slice(&record.version.to_le_bytes());
        out.extend_from_slice(&record.lease.to_le_bytes());
        put_revision(out, record.previous);
        out.push(if inline { 0 } else { VALUE_IN_HISTORY });
        if inline {
            out.extend_from_slice(record.value);
        }
        let crc = crc32c_append(crc32c(record.key), &out[4..]);
        out[..4].copy_from_slice(&crc.to_le_bytes());
    }

    /// Decodes the row of `key` without its value, and checks the checksum.
    pub(super) fn decode(key: &[u8], row: &[u8]) -> Result<Self, Fault> {
        if row.len() < LATEST_LEN || crc32c_append(crc32c(key), &row[4..]) != crc_of(row) {
            return Err(Problem::LatestRow { key: key.to_vec() }.into());
        }
        Ok(Self {
            header: RecordHeader {
                revision: revision_at(row, 4),
                create_revision: number_at(row, 16),
                version: number_at(row, 24),
                lease: number_at(row, 32),
            },
            previous: revision_at(row, 40),
            value_in_history: row[52] & VALUE_IN_HISTORY != 0,
        })
    }

    /// The value in a row.
    pub(super) fn inline_value(row: &[u8]) -> &[u8] {
        &row[LATEST_LEN..]
    }

    /// The record with `value`, which is from the row or from history.
    pub(super) fn record<'a>(&self, key: &'a [u8], value: &'a [u8]) -> RecordRef<'a> {
        RecordRef {
            key,
            value,
            revision: self.header.revision,
            create_revision: self.header.create_revision,
            version: self.header.version,
            lease: self.header.lease,
            previous: self.previous,
        }
    }
}

/// Rows of `history`.
pub(super) struct HistoryRow;

impl HistoryRow {
    /// Encodes the row of `record` into `out`.
    pub(super) fn encode(record: RecordRef<'_>, out: &mut Vec<u8>) {
        let key_length = u32::try_from(record.key.len()).expect("keys are below 4 GiB");
        out.clear();
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&record.create_revision.to_le_bytes());
        out.extend_from_slice(&record.version.to_le_bytes());
        out.extend_from_slice(&record.lease.to_le_bytes());
        put_revision(out, record.previous);
        out.extend_from_slice(&key_length.to_le_bytes());
        out.extend_from_slice(record.key);
        out.extend_from_slice(record.value);
        let crc = crc32c_append(crc32c(&record.revision.to_bytes()), &out[4..]);
        out[..4].copy_from_slice(&crc.to_le_bytes());
    }

    /// Decodes the row at `revision`, and checks the checksum.
    pub(super) fn decode<'a>(
        revision: &RevisionKey,
        row: &'a [u8],
    ) -> Result<RecordRef<'a>, Fault> {
        let whole = row.len() >= HISTORY_LEN + key_length(row);
        if !whole || crc32c_append(crc32c(revision), &row[4..]) != crc_of(row) {
            let revision = Revision::from_bytes(revision);
            return Err(Problem::HistoryRow { revision }.into());
        }
        Ok(Self::read(revision, row))
    }

    /// Reads a row that [`HistoryRow::decode`] has checked.
    pub(super) fn read<'a>(revision: &RevisionKey, row: &'a [u8]) -> RecordRef<'a> {
        let (key, value) = row[HISTORY_LEN..].split_at(key_length(row));
        RecordRef {
            key,
            value,
            revision: Revision::from_bytes(revision),
            create_revision: number_at(row, 4),
            version: number_at(row, 12),
            lease: number_at(row, 20),
            previous: revision_at(row, 28),
        }
    }

    /// The value in a row that [`HistoryRow::decode`] has checked.
    pub(super) fn value(row: &[u8]) -> &[u8] {
        &row[HISTORY_LEN + key_length(row)..]
    }
}

/// Length of the key in a row of history. For a row that is too short, a length that fails the
/// check in [`HistoryRow::decode`].
fn key_length(row: &[u8]) -> usize {
    let length = row.get(40..HISTORY_LEN).and_then(|bytes| bytes.try_into().ok());
    length.map_or(usize::MAX - HISTORY_LEN, |bytes| u32::from_le_bytes(bytes) as usize)
}

/// Encodes a key of [`LEASE_KEY`](super::tables::LEASE_KEY): the lease, then the key.
pub(super) fn lease_key(lease: i64, key: &[u8], out: &mut Vec<u8>) {
    out.clear();
    out.extend_from_slice(&lease.to_be_bytes());
    out.extend_from_slice(key);
}

/// Bytes that a record takes in `latest`, without the tree structure.
pub(super) fn stored_bytes(record: RecordRef<'_>) -> u64 {
    let inline = if record.value.len() <= INLINE_VALUE_BYTES_MAX { record.value.len() } else { 0 };
    (LATEST_LEN + record.key.len() + inline) as u64
}

/// Bytes that a record takes in `history`, without the tree structure.
pub(super) fn history_bytes(record: RecordRef<'_>) -> u64 {
    (Revision::ENCODED_LEN + HISTORY_LEN + record.key.len() + record.value.len()) as u64
}

fn put_revision(out: &mut Vec<u8>, revision: Revision) {
    out.extend_from_slice(&revision.main.to_le_bytes());
    out.extend_from_slice(&revision.sub.to_le_bytes());
}

fn crc_of(row: &[u8]) -> u32 {
    u32::from_le_bytes(row[..4].try_into().expect("four bytes"))
}

fn number_at(row: &[u8], at: usize) -> i64 {
    i64::from_le_bytes(row[at..at + 8].try_into().expect("eight bytes"))
}

fn revision_at(row: &[u8], at: usize) -> Revision {
    let sub = u32::from_le_bytes(row[at + 8..at + 12].try_into().expect("four bytes"));
    Revision::new(number_at(row, at), sub)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use quorate_core::Record;

    use super::*;

    fn record() -> impl Strategy<Value = Record> {
        let revision = || (0i64.., any::<u32>()).prop_map(|(m, s)| Revision::new(m, s));
        let numbers = (0i64.., 0i64.., any::<i64>());
        let value = prop::collection::vec(any::<u8>(), 0..1200);
        (prop::collection::vec(any::<u8>(), 1..40), value, revision(), numbers, revision())
            .prop_map(|(key, value, revision, (create_revision, version, lease), previous)| {
                let key = key.into();
                let value = value.into();
                Record { key, value, revision, create_revision, version, lease, previous }
            })
    }

    proptest! {
        #[test]
        fn rows_round_trip_and_notice_damage(
            record in record(),
            at in any::<prop::sample::Index>(),
            bit in 0u8..8,
        ) {
            let mut row = Vec::new();
            HistoryRow::encode(record.as_ref(), &mut row);
            let key = record.revision.to_bytes();
            prop_assert_eq!(HistoryRow::decode(&key, &row).unwrap(), record.as_ref());
            let position = at.index(row.len());
            row[position] ^= 1 << bit;
            prop_assert!(HistoryRow::decode(&key, &row).is_err());

            LatestRow::encode(record.as_ref(), &mut row);
            let latest = LatestRow::decode(&record.key, &row).unwrap();
            let large = record.value.len() > INLINE_VALUE_BYTES_MAX;
            prop_assert_eq!(latest.value_in_history, large);
            let inline = LatestRow::inline_value(&row);
            let value = if large { &record.value[..] } else { inline };
            prop_assert_eq!(latest.record(&record.key, value), record.as_ref());
            let position = at.index(row.len());
            row[position] ^= 1 << bit;
            prop_assert!(LatestRow::decode(&record.key, &row).is_err());
        }
    }
}
