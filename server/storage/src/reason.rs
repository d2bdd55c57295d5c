//! The reason for which the process ends after an error of the data directory or the log.

use quorate_core::EndReason;

use crate::data_dir::DataDirError;
use crate::space::end_reason;
use crate::wal::RecoveryError;

impl DataDirError {
    /// The reason for which the process ends after this error.
    pub fn end_reason(&self) -> Option<EndReason> {
        match self {
            Self::Io { source, .. } => end_reason(source),
            // If the log is not where it should be, the flag may be wrong, or a disk not mounted.
            Self::Permissions { .. }
            | Self::Locked { .. }
            | Self::LogLocked { .. }
            | Self::LogElsewhere { .. }
            | Self::LogNotFound { .. }
            | Self::LogOfOther { .. }
            | Self::LogInside { .. } => None,
            Self::Etcd { .. } | Self::Foreign { .. } => Some(EndReason::OtherData),
            Self::Format { .. } => Some(EndReason::NewerFormat),
            Self::LogMissing { .. } | Self::Damaged { .. } => Some(EndReason::Damaged),
        }
    }
}

impl RecoveryError {
    /// The reason for which the process ends after this error.
    pub fn end_reason(&self) -> Option<EndReason> {
        match self {
            Self::Io { source, .. } => end_reason(source),
            Self::Format { .. } => Some(EndReason::NewerFormat),
            Self::Damaged { .. } => Some(EndReason::Damaged),
        }
    }
}
