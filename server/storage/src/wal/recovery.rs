//! Reading the log at start.
//!
//! A crash can leave a torn group at the end of the last segment. It was never acknowledged, so it
//! is cut off. Any other group that fails its checksum was durable and is damaged, and the member
//! must not start. [`super::record`] and [`super::torn`] explain how to distinguish the two. Also,
//! any group after an unreadable one proves that the unreadable one was synced.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;

use bytes::Bytes;
use quorate_core::LogPosition;

use super::error::{LogDamage, RecoveryError};
use super::index::{IndexedRun, Location};
use super::record::{GROUP_HEADER_LEN, GroupHeader, Record, is_zero};
use super::segment;
use super::torn::{Remains, Torn};
use crate::format::OtherFormat;

/// The content of the log.
#[derive(Default)]
pub(super) struct RecoveredLog {
    pub(super) vote: Option<Bytes>,
    pub(super) committed: Option<LogPosition>,
    pub(super) purged: Option<LogPosition>,
    pub(super) entries: IndexedRun<Location>,
    /// The segments, each with the highest entry index in it, including removed entries.
    pub(super) segments: Vec<(u64, Option<u64>)>,
    /// The end of the last segment, where writing continues.
    pub(super) end: Option<SegmentEnd>,
    /// Whether the segment that was read last has a [`Record::Continued`].
    is_continued: bool,
}

/// The end of the last segment.
pub(super) struct SegmentEnd {
    pub(super) segment: u64,
    pub(super) groups: u64,
    /// The content from the last block boundary to the end of the last group.
    pub(super) head: Vec<u8>,
    /// Offset of `head` in the segment.
    pub(super) origin: u64,
    /// Length of the segment's file.
    pub(super) length: u64,
}

impl RecoveredLog {
    /// The position of the last entry; without entries, the last purged position.
    pub(super) fn last(&self) -> Option<LogPosition> {
        let entry = self.entries.last().and_then(|index| {
            self.entries.get(index).map(|at| LogPosition { term: at.term, index })
        });
        entry.or(self.purged)
    }

    fn take(
        &mut self,
        record: Record,
        at: Location,
        last_index: &mut Option<u64>,
        image: &[u8],
    ) -> Result<(), LogDamage> {
        match record {
            Record::Segment { length, .. } if length != image.len() as u64 => {
                return Err(LogDamage::Length { found: image.len(), length });
            }
            Record::Segment { .. } => {}
            Record::Continued => self.is_continued = true,
            Record::Vote(vote) => self.vote = Some(vote),
            Record::Committed(at) => self.committed = Some(at),
            Record::TruncateAfter(last) => self.entries.truncate_after(last.map(|l| l.index)),
            Record::Purge(purged) => {
                self.purged = Some(purged);
                self.entries.purge(purged.index);
            }
            Record::Entry(entry) => {
                let index = entry.position.index;
                *last_index = (*last_index).max(Some(index));
                let last = self.entries.last();
                if last.is_some_and(|last| last + 1 != index) {
                    return Err(LogDamage::EntryOrder { index, last });
                }
                // A segment can have purged entries, because it is kept for the entries after them.
                if Some(index) > self.purged.map(|purged| purged.index) || self.purged.is_none() {
                    self.entries.push(index, Location { term: entry.position.term, ..at });
                }
            }
        }
        Ok(())
    }
}

/// Reads every segment in `dir` and cuts off a torn group at the end of the last one.
pub(super) fn recover(dir: &Path) -> Result<RecoveredLog, RecoveryError> {
    let io_error = |source| RecoveryError::Io { path: dir.to_owned(), source };
    let numbers = segment::list(dir).map_err(io_error)?;
    let mut recovered = RecoveredLog::default();
    for (position, number) in numbers.iter().enumerate() {
        let is_last = position + 1 == numbers.len();
        if position > 0 && numbers[position - 1] + 1 != *number {
            let damage = LogDamage::SegmentBefore(number - 1);
            let path = segment::path_of(dir, *number);
            return Err(RecoveryError::Damaged { path, offset: 0, damage });
        }
        read_segment(dir, *number, is_last, &mut recovered)?;
    }
    let first = recovered.entries.first();
    let expected = recovered.purged.map_or(0, |purged| purged.index + 1);
    if first.is_some_and(|first| first > expected) {
        let damage = LogDamage::EntriesMissing { expected, first };
        let path = segment::path_of(dir, numbers[0]);
        return Err(RecoveryError::Damaged { path, offset: 0, damage });
    }
    Ok(recovered)
}

fn read_segment(
    dir: &Path,
    number: u64,
    is_last: bool,
    recovered: &mut RecoveredLog,
) -> Result<(), RecoveryError> {
    let path = segment::path_of(dir, number);
    let io_error = |source| RecoveryError::Io { path: path.clone(), source };
    let mut image = Vec::new();
    let mut file = File::open(&path).map_err(io_error)?;
    file.read_to_end(&mut image).map_err(io_error)?;
    let damaged = |offset: usize, damage: LogDamage| {
        Err(RecoveryError::Damaged { path: path.clone(), offset, damage })
    };
    // A segment gets its name only after all of it is on disk.
    if image.is_empty() {
        return damaged(0, LogDamage::Empty);
    }
    let mut at = 0;
    let mut groups = 0;
    let mut last_index = None;
    recovered.is_continued = false;
    loop {
        match next_group(&image, at, number, groups) {
            Group::Whole { records, length } => {
                for (offset, size) in records {
                    let record = Record::decode(&image[offset..]).expect("decoded before").0;
                    check_format(&record, &path)?;
                    let place = place(number, offset, size);
                    let taken = recovered.take(record, place, &mut last_index, &image);
                    if let Err(damage) = taken {
                        return damaged(offset, damage);
                    }
                }
                at += length;
                groups += 1;
            }
            Group::Damaged(damage) => return damaged(at, damage),
            Group::Torn(Torn { end: Some(end) }) if !is_zero(&image[end.min(image.len())..]) => {
                return damaged(at, LogDamage::NotLast(groups));
            }
            Group::End | Group::Torn(_) => break,
        }
    }
    if let Some(later) = group_behind(&image, at, number, groups) {
        return damaged(at, LogDamage::BeforeLater { number: groups, later });
    }
    if !is_last && groups == 0 {
        return damaged(at, LogDamage::NoContent);
    }
    if is_last && recovered.is_continued {
        return damaged(at, LogDamage::SegmentAfter(number + 1));
    }
    recovered.segments.push((number, last_index));
    if is_last {
        wipe(&path, &image, at).map_err(io_error)?;
        let origin = at - at % segment::BLOCK;
        recovered.end = Some(SegmentEnd {
            segment: number,
            groups,
            head: image[origin..at].to_vec(),
            origin: origin as u64,
            length: image.len() as u64,
        });
    }
    Ok(())
}

/// Refuses a segment of a format that this version does not read.
fn check_format(record: &Record, path: &Path) -> Result<(), RecoveryError> {
    let Record::Segment { format, .. } = *record else { return Ok(()) };
    OtherFormat::check(format)
        .map_err(|format| RecoveryError::Format { path: path.to_owned(), format })
}

/// The location of a record of `size` bytes; the caller sets the term.
fn place(segment: u64, offset: usize, size: usize) -> Location {
    Location {
        segment,
        offset: u32::try_from(offset).expect("segments are below 4 GiB"),
        length: u32::try_from(size).expect("segments are below 4 GiB"),
        term: 0,
    }
}

/// The result of reading a group at some offset of a segment.
enum Group {
    /// A readable group, with the offset and size of each record.
    Whole { records: Vec<(usize, usize)>, length: usize },
    /// Zeros: no group begins here.
    End,
    /// A group that a crash left incomplete.
    Torn(Torn),
    /// A group that was written completely, but is not readable.
    Damaged(LogDamage),
}

fn next_group(image: &[u8], at: usize, segment: u64, number: u64) -> Group {
    let rest = &image[at..];
    let fixed = &rest[..rest.len().min(GROUP_HEADER_LEN)];
    if is_zero(fixed) {
        return Group::End;
    }
    let Some(header) = GroupHeader::decode(rest) else {
        let torn = Remains::new(image, at, segment, number).torn();
        return torn.map_or(Group::Damaged(LogDamage::GroupHeader), Group::Torn);
    };
    if header.segment != segment || header.number != number {
        let GroupHeader { segment, number: found, .. } = header;
        let damage = LogDamage::Misplaced { number: found, segment, expected: number };
        return Group::Damaged(damage);
    }
    let end = at + header.encoded_len() + header.length;
    if end > image.len() {
        return Group::Damaged(LogDamage::GroupLength);
    }
    let mut records = Vec::new();
    let mut offset = at + header.encoded_len();
    while offset < end {
        match Record::decode(&image[offset..end]) {
            Some((_, size)) => {
                records.push((offset, size));
                offset += size;
            }
            None if header.is_torn(image, at) => {
                return Group::Torn(Torn { end: Some(at + header.group_len()) });
            }
            None => return Group::Damaged(LogDamage::Record(offset)),
        }
    }
    Group::Whole { records, length: header.group_len() }
}

/// The offset of a group at or after `at` with a higher number than `number`. It proves that group
/// `number`, which should be at `at`, was synced.
fn group_behind(image: &[u8], at: usize, segment: u64, number: u64) -> Option<usize> {
    (at.next_multiple_of(8)..image.len()).step_by(8).find(|offset| {
        let rest = &image[*offset..];
        !is_zero(&rest[..rest.len().min(4)])
            && GroupHeader::decode(rest)
                .is_some_and(|header| header.segment == segment && header.number > number)
    })
}

/// Overwrites everything from `at` on with zeros, so that the remains of a torn group can never be
/// taken for a group. Writes only blocks that are not zero yet.
fn wipe(path: &Path, image: &[u8], at: usize) -> io::Result<()> {
    let mut start = at;
    let mut file = None;
    while start < image.len() {
        let end = (start - start % segment::BLOCK + segment::BLOCK).min(image.len());
        if !is_zero(&image[start..end]) {
            let file = match &file {
                Some(file) => file,
                None => file.insert(File::options().write(true).open(path)?),
            };
            file.write_all_at(&vec![0; end - start], start as u64)?;
        }
        start = end;
    }
    file.map_or(Ok(()), |file: File| crate::sync::all(&file))
}
