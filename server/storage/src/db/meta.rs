//! The description of the database as a whole: above all, the log position up to which it is
//! complete.

use bytes::Bytes;
use crc32c::crc32c;
use quorate_core::{LogPosition, Revision};

use crate::format::{DATA_FORMAT, OtherFormat};

/// Why a description cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MetaError {
    /// The stored form is damaged.
    #[error("the meta row fails its checksum")]
    Checksum,
    /// Another version of Quorate wrote it.
    #[error(transparent)]
    Format(#[from] OtherFormat),
    /// No store can have these revisions.
    #[error(
        "impossible revisions: history {history}, latest {latest}, compacted {compacted}, \
         deleted {deleted}"
    )]
    Revisions {
        /// Main revision up to which `history` is complete.
        history: i64,
        /// Main revision up to which `latest` is complete.
        latest: i64,
        /// The compacted revision.
        compacted: i64,
        /// The compacted revision up to which history is deleted.
        deleted: i64,
    },
}

/// The description of the database. Each transaction writes it together with the data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Meta {
    /// The data format of the database.
    pub(super) format: u32,
    /// The last log entry in the database.
    pub(super) applied: Option<LogPosition>,
    /// Main revision up to which `history` is complete.
    pub(super) history_revision: i64,
    /// Main revision up to which `latest` is complete. Currently always equal to
    /// `history_revision`. The field exists so that a later version can flush history more often
    /// than it merges `latest`.
    pub(super) latest_revision: i64,
    /// The compacted revision; -1 for none.
    pub(super) compacted: i64,
    /// The compacted revision up to which history is deleted; -1 for none.
    pub(super) deleted: i64,
    /// The compacted revision of the running deletion; at or below `deleted` if none is running.
    pub(super) deleting: i64,
    /// The revision at which the running deletion continues.
    pub(super) delete_from: Revision,
    /// Bytes of the rows of `latest`.
    pub(super) latest_bytes: u64,
    /// Bytes of the rows of `history`.
    pub(super) history_bytes: u64,
    /// The Raft membership, opaque here.
    pub(super) membership: Bytes,
}

impl Default for Meta {
    fn default() -> Self {
        Self {
            format: DATA_FORMAT,
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

/// No store reaches this revision, so a received snapshot must be below it.
const REVISION_MAX: i64 = i64::MAX / 2;

const FIXED_LEN: usize = 4 + 4 + 1 + 7 * 8 + Revision::ENCODED_LEN + 2 * 8;

impl Meta {
    /// The stored form: checksum, format, numbers, membership.
    pub(super) fn encode(&self) -> Vec<u8> {
        let applied = self.applied.unwrap_or_default();
        let mut out = vec![0; 4];
        out.extend_from_slice(&self.format.to_le_bytes());
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

    /// Checks revisions that another member sent. The store continues from them, so impossible ones
    /// are refused.
    pub(super) fn check(&self) -> Result<(), MetaError> {
        let Self { history_revision: history, latest_revision: latest, compacted, deleted, .. } =
            *self;
        let is_possible = (0..REVISION_MAX).contains(&history)
            && latest == history
            && compacted <= history
            && deleted <= history;
        if is_possible {
            Ok(())
        } else {
            Err(MetaError::Revisions { history, latest, compacted, deleted })
        }
    }

    /// Decodes the stored form.
    ///
    /// # Errors
    /// [`MetaError::Checksum`] or [`MetaError::Format`].
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, MetaError> {
        if bytes.len() < FIXED_LEN || crc32c(&bytes[4..]).to_le_bytes() != bytes[..4] {
            return Err(MetaError::Checksum);
        }
        let mut rest = &bytes[4..];
        let format = u32::from_le_bytes(take(&mut rest));
        OtherFormat::check(format)?;
        let has_applied = u8::from_le_bytes(take(&mut rest)) != 0;
        let term = u64::from_le_bytes(take(&mut rest));
        let index = u64::from_le_bytes(take(&mut rest));
        Ok(Self {
            format,
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

/// Splits off the first `N` bytes. The caller has checked the length.
fn take<const N: usize>(rest: &mut &[u8]) -> [u8; N] {
    let (head, tail) = rest.split_first_chunk().expect("the length was checked");
    *rest = tail;
    *head
}

#[cfg(test)]
mod tests {
    use quorate_core::Fault;

    use super::*;
    use crate::db::DatabaseError;
    use crate::format::AUTH_FORMAT;

    #[test]
    fn another_format_is_no_damage() {
        let mut row = Meta::default().encode();
        let later = OtherFormat(AUTH_FORMAT + 1);
        row[4..8].copy_from_slice(&later.0.to_le_bytes());
        let crc = crc32c(&row[4..]);
        row[..4].copy_from_slice(&crc.to_le_bytes());
        let found = Meta::decode(&row).unwrap_err();
        assert_eq!(found, MetaError::Format(later));
        let error = DatabaseError::content("db".into(), Fault::storage(found));
        assert_eq!(error.to_string(), format!("cannot use the database db: {later}"));
    }

    #[test]
    fn round_trips_and_notices_damage() {
        let meta = Meta {
            format: AUTH_FORMAT,
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
