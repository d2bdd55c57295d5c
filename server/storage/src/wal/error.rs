//! The reasons for which the log cannot be opened.

use std::io;
use std::path::PathBuf;

use crate::format::OtherFormat;

/// Why the log cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum RecoveryError {
    /// Reading or writing failed.
    #[error("cannot read {path}: {source}")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// Another version of Quorate wrote the segment.
    #[error("cannot use {path}: {format}")]
    Format {
        /// The segment.
        path: PathBuf,
        /// Its format.
        format: OtherFormat,
    },
    /// A durable part of the log is damaged or missing.
    #[error("{path} is damaged at offset {offset}: {damage}")]
    Damaged {
        /// The segment.
        path: PathBuf,
        /// Offset in the segment.
        offset: usize,
        /// The damage.
        damage: LogDamage,
    },
}

/// How the log is damaged.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogDamage {
    /// The file is shorter or longer than it was made.
    #[error("the file has {found} bytes instead of {length}")]
    Length {
        /// Bytes of the file.
        found: usize,
        /// Bytes that it was made with.
        length: u64,
    },
    /// The segment has no content at all.
    #[error("the segment is empty")]
    Empty,
    /// The segment has no group, although the log continues after it.
    #[error("the segment has no content, but another one follows")]
    NoContent,
    /// An earlier segment does not exist.
    #[error("segment {0:x}, the one before it, is missing")]
    SegmentBefore(u64),
    /// A later segment does not exist.
    #[error("segment {0:x}, the one after it, is missing")]
    SegmentAfter(u64),
    /// Entries between the purged position and the first entry are missing.
    #[error("entries from {expected} on are missing; the first is {first:?}")]
    EntriesMissing {
        /// Index that the first entry should have.
        expected: u64,
        /// Index of the first entry.
        first: Option<u64>,
    },
    /// The index of an entry does not follow that of the entry before.
    #[error("entry {index} follows {last:?}")]
    EntryOrder {
        /// Index of the entry.
        index: u64,
        /// Index of the entry before.
        last: Option<u64>,
    },
    /// A group is not readable, and was synced: something follows it.
    #[error("group {0} is unreadable and not the last one")]
    NotLast(u64),
    /// A group is not readable, and was synced: a later group follows it.
    #[error("group {number} is unreadable, but a later group begins at {later}")]
    BeforeLater {
        /// Number of the group.
        number: u64,
        /// Offset of the later group.
        later: usize,
    },
    /// A group belongs elsewhere.
    #[error("found group {number} of segment {segment}, expected group {expected}")]
    Misplaced {
        /// Number of the group.
        number: u64,
        /// Segment of the group.
        segment: u64,
        /// Number of the group that should be here.
        expected: u64,
    },
    /// The header of a group is damaged.
    #[error("the header of a group fails its checksum")]
    GroupHeader,
    /// A group is longer than the rest of the segment.
    #[error("a group reaches beyond the end of the file")]
    GroupLength,
    /// A record is damaged.
    #[error("the record at {0} fails its checksum")]
    Record(usize),
}
