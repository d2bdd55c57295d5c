//! Key intervals, and etcd's conventions for encoding one as a key and a range end.

use bytes::Bytes;

/// The end of an interval of keys.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum End {
    /// The interval is the start key alone.
    Single,
    /// The interval ends before this key. An end at or below the start makes the interval empty.
    Before(Bytes),
    /// The interval has every key from the start on.
    Unbounded,
}

/// A half-open interval of keys.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyRange {
    /// The first key that may be in the interval.
    pub start: Bytes,
    /// The end of the interval.
    pub end: End,
}

impl KeyRange {
    /// Decodes the wire convention: an empty `range_end` means the single key `key`, one zero byte
    /// means every key from `key` on, and any other end means the keys in `[key, range_end)`.
    pub fn from_wire(key: Bytes, range_end: Bytes) -> Self {
        let end = match range_end.as_ref() {
            [] => End::Single,
            [0] => End::Unbounded,
            _ => End::Before(range_end),
        };
        Self { start: key, end }
    }

    /// The interval that holds `key` alone.
    pub fn single(key: Bytes) -> Self {
        Self { start: key, end: End::Single }
    }

    /// The interval of all keys.
    pub fn all() -> Self {
        Self { start: Bytes::new(), end: End::Unbounded }
    }

    /// Whether `key` is in the interval.
    pub fn contains(&self, key: &[u8]) -> bool {
        match &self.end {
            End::Single => key == self.start.as_ref(),
            End::Before(end) => self.start.as_ref() <= key && key < end.as_ref(),
            End::Unbounded => self.start.as_ref() <= key,
        }
    }

    /// Whether `key` is at or after the end of the interval.
    pub fn is_past(&self, key: &[u8]) -> bool {
        match &self.end {
            End::Single => key > self.start.as_ref(),
            End::Before(end) => key >= end.as_ref(),
            End::Unbounded => false,
        }
    }

    /// Whether the interval has no keys.
    pub fn is_empty(&self) -> bool {
        matches!(&self.end, End::Before(end) if end <= &self.start)
    }

    /// Whether the interval is one key.
    pub fn is_single(&self) -> bool {
        self.end == End::Single
    }

    /// The part of the interval after `key`; empty for an interval of a single key.
    #[must_use]
    pub fn after(&self, key: &[u8]) -> Self {
        let mut next = Vec::with_capacity(key.len() + 1);
        next.extend_from_slice(key);
        next.push(0);
        let start = Bytes::from(next);
        let end = match &self.end {
            End::Single => End::Before(start.clone()),
            other => other.clone(),
        };
        Self { start, end }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(key: &'static [u8], end: &'static [u8]) -> KeyRange {
        KeyRange::from_wire(Bytes::from_static(key), Bytes::from_static(end))
    }

    #[test]
    fn conventions_of_the_wire() {
        let all = wire(b"\0", b"\0");
        assert!(all.contains(b"a") && all.contains(b"\0") && !all.contains(b""));
        let single = wire(b"a", b"");
        assert!(single.contains(b"a") && !single.contains(b"a\0") && single.is_past(b"a\0"));
        let half_open = wire(b"a", b"c");
        assert!(half_open.contains(b"a") && half_open.contains(b"bz") && !half_open.contains(b"c"));
        assert!(wire(b"c", b"a").is_empty() && wire(b"a", b"a").is_empty());
        assert!(wire(b"b", b"\0").contains(b"zz") && !wire(b"b", b"\0").contains(b"a"));
    }

    #[test]
    fn after_a_key_excludes_it() {
        let rest = wire(b"a", b"c").after(b"b");
        assert!(!rest.contains(b"b") && rest.contains(b"b\0") && !rest.contains(b"c"));
        assert!(wire(b"a", b"").after(b"a").is_empty());
    }
}
