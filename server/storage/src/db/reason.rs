//! The reason for which the process ends after an error of the database.

use std::error::Error;
use std::io;

use quorate_core::{DecodeError, EndReason, Fault};
use redb::{CommitError, StorageError, TableError, TransactionError};

use super::error::{Damage, DatabaseError, JobError, Problem};
use super::meta::MetaError;
use crate::space;

impl DatabaseError {
    /// The reason for which the process ends after this error.
    pub fn end_reason(&self) -> Option<EndReason> {
        match self {
            Self::Io { source, .. } => space::end_reason(source),
            Self::Redb { source, .. } => of_redb(source),
            Self::Format { .. } => Some(EndReason::NewerFormat),
            Self::Damaged { damage: Damage::Content(fault), .. } => end_reason(fault),
            Self::Damaged { .. } => Some(EndReason::Damaged),
        }
    }
}

impl JobError {
    /// The reason for which the process ends after this error.
    pub fn end_reason(&self) -> Option<EndReason> {
        match self {
            Self::Fault(fault) => end_reason(fault),
            Self::Io(error) => space::end_reason(error),
            Self::NotLater { .. } | Self::Stopped => None,
        }
    }
}

impl Problem {
    fn end_reason(&self) -> Option<EndReason> {
        match self {
            Self::LatestRow { .. }
            | Self::HistoryRow { .. }
            | Self::NoVersion(_)
            | Self::NoMeta
            | Self::AuthRow
            | Self::RevisionWidth
            | Self::PositionKey => Some(EndReason::Damaged),
            Self::NoSpaceForCopy { .. } | Self::NoSpaceForPart { .. } => Some(EndReason::DiskFull),
            Self::Superseded => None,
        }
    }
}

/// The reason for which the process ends after a fault.
pub fn end_reason(fault: &Fault) -> Option<EndReason> {
    match fault {
        Fault::Storage(cause) => of_cause(&**cause),
        Fault::Entry { reason: DecodeError::Format(_) | DecodeError::Kind(_), .. } => {
            Some(EndReason::NewerFormat)
        }
        Fault::Entry { .. } | Fault::Inconsistent(_) => Some(EndReason::Damaged),
    }
}

/// The reason of a fault's cause, which has one of the types that make faults in this module.
fn of_cause(cause: &(dyn Error + 'static)) -> Option<EndReason> {
    if let Some(error) = cause.downcast_ref::<io::Error>() {
        return space::end_reason(error);
    }
    if let Some(error) = cause.downcast_ref::<DatabaseError>() {
        return error.end_reason();
    }
    if let Some(problem) = cause.downcast_ref::<Problem>() {
        return problem.end_reason();
    }
    match cause.downcast_ref() {
        Some(MetaError::Format(_)) => Some(EndReason::NewerFormat),
        Some(MetaError::Checksum | MetaError::Revisions { .. }) => Some(EndReason::Damaged),
        None => of_redb(cause),
    }
}

/// The reason of an error of redb, whose types do not name their sources.
fn of_redb(error: &(dyn Error + 'static)) -> Option<EndReason> {
    if let Some(error) = error.downcast_ref() {
        return of_redb_storage(error);
    }
    if let Some(redb::DatabaseError::Storage(error)) = error.downcast_ref() {
        return of_redb_storage(error);
    }
    if let Some(TransactionError::Storage(error)) = error.downcast_ref() {
        return of_redb_storage(error);
    }
    if let Some(CommitError::Storage(error)) = error.downcast_ref() {
        return of_redb_storage(error);
    }
    match error.downcast_ref()? {
        TableError::Storage(error) => of_redb_storage(error),
        // The table does not exist, or has another type.
        _ => Some(EndReason::Damaged),
    }
}

fn of_redb_storage(error: &StorageError) -> Option<EndReason> {
    match error {
        StorageError::Corrupted(_) => Some(EndReason::Damaged),
        StorageError::Io(error) => space::end_reason(error),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::error::fault;
    use super::*;

    #[test]
    fn faults_have_the_reason_of_their_cause() {
        let full = || io::Error::from(io::ErrorKind::StorageFull);
        let other = || io::Error::from(io::ErrorKind::PermissionDenied);
        let corrupted = || StorageError::Corrupted("a page".to_owned());
        let decoding = |reason| Fault::Entry { index: 7, reason };
        let cases = [
            (fault(full()), Some(EndReason::DiskFull)),
            (fault(StorageError::Io(full())), Some(EndReason::DiskFull)),
            (fault(CommitError::Storage(StorageError::Io(full()))), Some(EndReason::DiskFull)),
            (fault(other()), None),
            (fault(StorageError::Io(other())), None),
            (fault(corrupted()), Some(EndReason::Damaged)),
            (fault(TransactionError::from(corrupted())), Some(EndReason::Damaged)),
            (fault(redb::DatabaseError::from(corrupted())), Some(EndReason::Damaged)),
            (fault(TableError::TableDoesNotExist("t".to_owned())), Some(EndReason::Damaged)),
            (fault(Problem::NoMeta), Some(EndReason::Damaged)),
            (fault(MetaError::Checksum), Some(EndReason::Damaged)),
            (fault(Problem::Superseded), None),
            (Fault::Inconsistent("it".to_owned()), Some(EndReason::Damaged)),
            (decoding(DecodeError::TooShort(1)), Some(EndReason::Damaged)),
            (decoding(DecodeError::Format(99)), Some(EndReason::NewerFormat)),
            (decoding(DecodeError::Kind(99)), Some(EndReason::NewerFormat)),
        ];
        for (fault, reason) in cases {
            assert_eq!(end_reason(&fault), reason, "{fault}");
        }
    }
}
