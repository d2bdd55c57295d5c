//! The data format: the version of everything that a member stores or sends in a snapshot.
//!
//! A version of Quorate that stores something which earlier versions cannot read raises the number.
//! It writes the new number to `IDENTITY` before it changes anything else in the directory: a start
//! reads `IDENTITY` first, so an earlier version refuses the directory and leaves it as it is.

/// The data format that this version writes.
pub const DATA_FORMAT: u32 = 1;
/// The data format of a database, and of a snapshot, that has users or roles. Versions of Quorate
/// without them must not use such data.
pub(crate) const USERS_FORMAT: u32 = 2;
/// The newest data format: that of a database, and of a snapshot, of a cluster that has ever
/// checked permissions. Versions of Quorate that do not check permissions must not use such data.
pub(crate) const AUTH_FORMAT: u32 = 3;

/// Data of a format that this version does not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "it has data format {0}, but this version of Quorate reads only data formats up to \
     {AUTH_FORMAT}; run the version of Quorate that wrote it, or a later one"
)]
pub struct OtherFormat(pub u32);

impl OtherFormat {
    /// Accepts the formats that this version reads.
    pub(crate) fn check(format: u32) -> Result<(), Self> {
        if (DATA_FORMAT..=AUTH_FORMAT).contains(&format) { Ok(()) } else { Err(Self(format)) }
    }
}
