//! An index that finds the watched ranges that contain a key.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::limits::MATCHER_PENDING_MAX;
use crate::{End, KeyRange};

/// Identifies an entry of a [`Matcher`].
pub type EntryId = u64;

/// A range in the index.
#[derive(Clone, Debug)]
struct Entry {
    range: KeyRange,
    id: EntryId,
}

/// The higher of two ends; `None` is unbounded.
fn higher(a: Option<Bytes>, b: Option<Bytes>) -> Option<Bytes> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.max(b)),
        _ => None,
    }
}

/// An implicit balanced interval tree. The ranges are sorted by start. The middle range of a slice
/// is the root, and the halves before and after it are its subtrees. Each root has the
/// highest end in its slice, so that a look-up skips slices whose ranges all end before the key.
#[derive(Debug, Default)]
struct Tree {
    entries: Vec<Entry>,
    /// For each root the highest end in its slice; `None` if a range in it is unbounded.
    ends: Vec<Option<Bytes>>,
}

impl Tree {
    fn new(mut entries: Vec<Entry>) -> Self {
        entries.sort_by(|a, b| a.range.start.cmp(&b.range.start));
        let mut ends = vec![None; entries.len()];
        Self::fill(&entries, &mut ends);
        Self { entries, ends }
    }

    fn fill(entries: &[Entry], ends: &mut [Option<Bytes>]) -> Option<Bytes> {
        let middle = entries.len() / 2;
        let Some(root) = entries.get(middle) else { return Some(Bytes::new()) };
        let own = match &root.range.end {
            End::Before(end) => Some(end.clone()),
            End::Single => Some(root.range.start.clone()),
            End::Unbounded => None,
        };
        let (low, rest) = ends.split_at_mut(middle);
        let (at_root, high) = rest.split_at_mut(1);
        let below = Self::fill(&entries[..middle], low);
        let above = Self::fill(&entries[middle + 1..], high);
        let end = higher(own, higher(below, above));
        at_root[0].clone_from(&end);
        end
    }

    fn visit(entries: &[Entry], ends: &[Option<Bytes>], key: &[u8], hit: &mut dyn FnMut(EntryId)) {
        let middle = entries.len() / 2;
        let Some(root) = entries.get(middle) else { return };
        if ends[middle].as_ref().is_some_and(|end| end.as_ref() < key) {
            return;
        }
        Self::visit(&entries[..middle], &ends[..middle], key, hit);
        if root.range.start.as_ref() <= key {
            if root.range.contains(key) {
                hit(root.id);
            }
            Self::visit(&entries[middle + 1..], &ends[middle + 1..], key, hit);
        }
    }
}

/// Finds the ranges that contain a key.
///
/// Single keys are in a map, ranges in a tree. New ranges are pending and are checked one by one;
/// when more than [`MATCHER_PENDING_MAX`] are pending, the tree is rebuilt with them.
#[derive(Debug, Default)]
pub struct Matcher {
    singles: BTreeMap<Bytes, Vec<EntryId>>,
    tree: Tree,
    pending: Vec<Entry>,
}

impl Matcher {
    /// Adds a range. `id` must not be in use.
    pub fn insert(&mut self, range: KeyRange, id: EntryId) {
        if range.is_single() {
            self.singles.entry(range.start).or_default().push(id);
            return;
        }
        self.pending.push(Entry { range, id });
        if self.pending.len() > MATCHER_PENDING_MAX {
            let mut entries = std::mem::take(&mut self.tree).entries;
            entries.append(&mut self.pending);
            self.tree = Tree::new(entries);
        }
    }

    /// Removes a range. `range` must be that of the entry.
    pub fn remove(&mut self, range: &KeyRange, id: EntryId) {
        if range.is_single() {
            if let Some(ids) = self.singles.get_mut(&range.start) {
                ids.retain(|other| *other != id);
                if ids.is_empty() {
                    self.singles.remove(&range.start);
                }
            }
            return;
        }
        let pending = self.pending.len();
        self.pending.retain(|entry| entry.id != id);
        if self.pending.len() == pending {
            let mut entries = std::mem::take(&mut self.tree).entries;
            entries.retain(|entry| entry.id != id);
            self.tree = Tree::new(entries);
        }
    }

    /// Calls `hit` once for every range that contains `key`, in no particular order.
    pub fn matches(&self, key: &[u8], hit: &mut dyn FnMut(EntryId)) {
        if let Some(ids) = self.singles.get(key) {
            ids.iter().copied().for_each(&mut *hit);
        }
        Tree::visit(&self.tree.entries, &self.tree.ends, key, hit);
        for entry in &self.pending {
            if entry.range.contains(key) {
                hit(entry.id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn finds_the_same_entries_as_a_linear_search(
            ranges in prop::collection::vec((0u8..60, 0u8..63), 1..900),
            removed in prop::collection::btree_set(0usize..900, 0..400),
            keys in prop::collection::vec(0u8..64, 1..30),
        ) {
            let range = |(start, end): (u8, u8)| {
                let end = match end {
                    0 => vec![0],
                    1 => vec![],
                    end => vec![end],
                };
                KeyRange::from_wire(Bytes::from(vec![start]), Bytes::from(end))
            };
            let mut matcher = Matcher::default();
            for (id, r) in ranges.iter().enumerate() {
                matcher.insert(range(*r), id as u64);
            }
            for id in &removed {
                if let Some(r) = ranges.get(*id) {
                    matcher.remove(&range(*r), *id as u64);
                }
            }
            for k in keys {
                let mut found = BTreeSet::new();
                matcher.matches(&[k], &mut |id| assert!(found.insert(id)));
                let expected: BTreeSet<u64> = ranges.iter().enumerate()
                    .filter(|(id, r)| !removed.contains(id) && range(**r).contains(&[k]))
                    .map(|(id, _)| id as u64)
                    .collect();
                prop_assert_eq!(found, expected);
            }
        }
    }
}
