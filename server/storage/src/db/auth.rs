//! The row with all users and roles: a checksum, and the encoded [`Auth`].

use std::sync::Arc;

use crc32c::crc32c;
use quorate_core::Fault;
use quorate_core::auth::Auth;
use redb::{ReadTransaction, ReadableTable as _, WriteTransaction};

use super::error::{Problem, fault};
use super::tables::{AUTH_KEY, META};
use crate::format::{AUTH_FORMAT, DATA_FORMAT, USERS_FORMAT};

/// The data format of a database or a snapshot with these users and roles.
pub(super) fn format_with(auth: &Auth) -> u32 {
    if auth.was_enabled() {
        AUTH_FORMAT
    } else if auth.is_unused() {
        DATA_FORMAT
    } else {
        USERS_FORMAT
    }
}

/// The stored form: checksum, message.
pub(super) fn encode(auth: &Auth) -> Vec<u8> {
    let mut row = vec![0; 4];
    row.extend_from_slice(&auth.to_bytes());
    let crc = crc32c(&row[4..]);
    row[..4].copy_from_slice(&crc.to_le_bytes());
    row
}

/// Decodes the stored form; `None` if it is damaged.
pub(super) fn decode(row: &[u8]) -> Option<Auth> {
    let (crc, message) = row.split_first_chunk()?;
    (u32::from_le_bytes(*crc) == crc32c(message)).then_some(())?;
    Auth::from_bytes(message)
}

/// Writes users and roles if they have changed.
pub(super) fn write(txn: &WriteTransaction, auth: &Auth) -> Result<(), Fault> {
    if auth.is_unused() {
        return Ok(());
    }
    let row = encode(auth);
    let mut table = txn.open_table(META).map_err(fault)?;
    let is_written = {
        let written = table.get(AUTH_KEY).map_err(fault)?;
        written.is_some_and(|written| written.value() == row)
    };
    if !is_written {
        table.insert(AUTH_KEY, row.as_slice()).map_err(fault)?;
    }
    Ok(())
}

/// Reads users and roles.
pub(super) fn read(txn: &ReadTransaction) -> Result<Arc<Auth>, Fault> {
    let table = txn.open_table(META).map_err(fault)?;
    match table.get(AUTH_KEY).map_err(fault)? {
        None => Ok(Arc::default()),
        Some(row) => Ok(Arc::new(decode(row.value()).ok_or(Problem::AuthRow)?)),
    }
}
