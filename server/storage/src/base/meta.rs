//! What the database is complete up to.

use bytes::Bytes;
use crc32c::crc32c;
use quorate_core::{LogPosition, Revision};

/// Version of the layout of all tables.
const FORMAT: u32 = 1;

/// The state of the database as a whole. Written in the same transaction as the data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Meta {
    /// The last log entry contained.
    pub(super) applied: Option<LogPosition>,
    /// Main revision of the last version in history.
    pub(super) history_revision: i64,
    /// Main revision up to which `latest` is merged. Equal to `history_revision` now; kept apart so
    /// that history may once be flushed more often than `latest` is merged.
    pub(super) latest_revision: i64,
    /// The compacted revision; -1 for none.
    pub(super) compacted: i64,
    /// The compacted revision up to which history was deleted; -1 for none.
    pub(super) deleted: i64,
    /// While history is being deleted: the revision up to which; at or below `deleted` otherwise.
    pub(super) deleting: i64,
    /// While history is being deleted: the first version not looked at yet.
    pub(super) delete_from: Revision,
    /// Bytes of the rows of `latest`.
    pub(super) latest_bytes: u64,
    /// Bytes of the rows of `history`.
    pub(super) history_bytes: u64,
    /// The raft membership, opaque here.
    pub(super) membership: Bytes,
}

impl Default for Meta {
    fn default() -> Self {
        Self {
            applied: None,
            history_revision: 0,
            latest_revision: 0,
            compacted: -1,
            deleted: -1,
            deleting: -1,
            delete_from: Revision::NONE,
            latest_bytes: 0,
            history_bytes: 0,
            membership: Bytes::new(),
        }
    }
}

/// No store comes to this revision, and none may begin there.
const REVISION_MAX: i64 = i64::MAX / 2;

const FIXED_LEN: usize = 4 + 4 + 1 + 7 * 8 + Revision::ENCODED_LEN + 2 * 8;

impl Meta {
    /// The stored form: checksum, format, numbers, membership.
    pub(super) fn encode(&self) -> Vec<u8> {
        let applied = self.applied.unwrap_or_default();
        let mut out = vec![0; 4];
        out.extend_from_slice(&FORMAT.to_le_bytes());
        out.push(u8::from(self.applied.is_some()));
        for number in [applied.term, applied.index] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        for number in [
            self.history_revision,
            self.latest_revision,
            self.compacted,
            self.deleted,
            self.deleting,
        ] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend_from_slice(&self.delete_from.to_bytes());
        for number in [self.latest_bytes, self.history_bytes] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend_from_slice(&self.membership);
        let crc = crc32c(&out[4..]);
        out[..4].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// Refuses numbers that another member sent and no store comes to: the next write would begin
    /// from them.
    pub(super) fn check(&self) -> Result<(), String> {
        let Self { history_revision, latest_revision, compacted, deleted, .. } = *self;
        let is_good = (0..REVISION_MAX).contains(&history_revision)
            && latest_revision == history_revision
            && compacted <= history_revision
            && deleted <= history_revision;
        match is_good {
            true => Ok(()),
            false => Err(format!("no store is at revision {history_revision} in this way")),
        }
    }

    /// Reads the stored form; the reason of a failure is for the log.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, String> {
        if bytes.len() < FIXED_LEN || crc32c(&bytes[4..]).to_le_bytes() != bytes[..4] {
            return Err("its description fails its checksum".to_owned());
        }
        let mut rest = &bytes[4..];
        let format = u32::from_le_bytes(take(&mut rest));
        if format != FORMAT {
            return Err(format!("it has format {format}, this version knows {FORMAT} only"));
        }
        let has_applied = u8::from_le_bytes(take(&mut rest)) != 0;
        let term = u64::from_le_bytes(take(&mut rest));
        let index = u64::from_le_bytes(take(&mut rest));
        Ok(Self {
            applied: has_applied.then_some(LogPosition { term, index }),
            history_revision: i64::from_le_bytes(take(&mut rest)),
            latest_revision: i64::from_le_bytes(take(&mut rest)),
            compacted: i64::from_le_bytes(take(&mut rest)),
            deleted: i64::from_le_bytes(take(&mut rest)),
            deleting: i64::from_le_bytes(take(&mut rest)),
            delete_from: Revision::from_bytes(&take(&mut rest)),
            latest_bytes: u64::from_le_bytes(take(&mut rest)),
            history_bytes: u64::from_le_bytes(take(&mut rest)),
            membership: Bytes::copy_from_slice(rest),
        })
    }
}

/// Splits off the first `N` bytes, which the caller has made sure are there.
fn take<const N: usize>(rest: &mut &[u8]) -> [u8; N] {
    let (head, tail) = rest.split_first_chunk().expect("the length was checked");
    *rest = tail;
    *head
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips_and_notices_damage() {
        let meta = Meta {
            applied: Some(LogPosition { term: 3, index: 900 }),
            history_revision: 17,
            latest_revision: 16,
            compacted: 9,
            deleted: 5,
            deleting: 8,
            delete_from: Revision::new(7, 2),
            latest_bytes: 1 << 40,
            history_bytes: 12,
            membership: Bytes::from_static(b"members"),
        };
        let good = meta.encode();
        assert_eq!(Meta::decode(&good), Ok(meta));
        assert_eq!(Meta::decode(&Meta::default().encode()), Ok(Meta::default()));
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 4;
            assert!(Meta::decode(&bad).is_err());
            assert!(Meta::decode(&good[..at]).is_err());
        }
    }
}
