//! An ordered map that sums the weights of its entries over any range of keys.
//!
//! Sorted blocks in one vector hold at most [`COUNTED_BLOCK_ENTRIES_MAX`] sorted entries each, with
//! the sum of their weights. The sum over a range reads the sums of whole blocks and the entries of
//! at most two partial blocks.

use bytes::Bytes;

use crate::KeyRange;
use crate::limits::COUNTED_BLOCK_ENTRIES_MAX;

/// One entry.
#[derive(Debug)]
struct Entry<V> {
    key: Bytes,
    value: V,
    weight: i64,
}

/// Consecutive entries and the sum of their weights. Never empty.
#[derive(Debug)]
struct Block<V> {
    entries: Vec<Entry<V>>,
    weight: i64,
}

impl<V> Block<V> {
    fn of(entries: Vec<Entry<V>>) -> Self {
        let weight = entries.iter().map(|entry| entry.weight).sum();
        Self { entries, weight }
    }

    /// The sum of the weights of the entries in `range`.
    fn weight_within(&self, range: &KeyRange) -> i64 {
        self.entries.iter().filter(|e| range.contains(&e.key)).map(|e| e.weight).sum()
    }
}

/// The map. It has no removal: a memtable only grows until it is dropped as a whole.
#[derive(Debug)]
pub(crate) struct CountedMap<V> {
    blocks: Vec<Block<V>>,
}

impl<V> Default for CountedMap<V> {
    fn default() -> Self {
        Self { blocks: Vec::new() }
    }
}

/// Block and entry of a key, or where the key would be inserted.
enum Place {
    Found(usize, usize),
    Missing(usize, usize),
}

impl<V> CountedMap<V> {
    /// The value of `key`.
    pub(crate) fn get(&self, key: &[u8]) -> Option<&V> {
        match self.place(key) {
            Place::Found(block, entry) => Some(&self.blocks[block].entries[entry].value),
            Place::Missing(..) => None,
        }
    }

    /// Sets the value of `key`, adds `weight` to its weight and returns the value it had.
    pub(crate) fn put(&mut self, key: Bytes, value: V, weight: i64) -> Option<V> {
        match self.place(&key) {
            Place::Found(block, entry) => {
                let block = &mut self.blocks[block];
                block.weight += weight;
                let entry = &mut block.entries[entry];
                entry.weight += weight;
                Some(std::mem::replace(&mut entry.value, value))
            }
            Place::Missing(block, entry) => {
                self.insert(block, entry, Entry { key, value, weight });
                None
            }
        }
    }

    /// The sum of the weights of the keys in `range`.
    pub(crate) fn weight(&self, range: &KeyRange) -> i64 {
        let first = self.block_of(&range.start);
        let end = self.blocks.partition_point(|block| !range.is_past(&block.entries[0].key));
        if first + 1 >= end {
            return self.blocks[..end].get(first).map_or(0, |block| block.weight_within(range));
        }
        // Only the first and last block can have entries outside the range.
        let inner: i64 = self.blocks[first + 1..end - 1].iter().map(|block| block.weight).sum();
        let outer = [first, end - 1].map(|i| self.blocks[i].weight_within(range));
        inner + outer[0] + outer[1]
    }

    /// The entries from `start` on, ascending.
    pub(crate) fn iter_from(&self, start: &[u8]) -> impl Iterator<Item = (&Bytes, &V)> {
        let (block, entry) = match self.place(start) {
            Place::Found(block, entry) | Place::Missing(block, entry) => (block, entry),
        };
        let head = self.blocks.get(block).map_or(&[][..], |block| &block.entries[entry..]);
        let tail = self.blocks.iter().skip(block + 1).flat_map(|block| &block.entries);
        head.iter().chain(tail).map(|entry| (&entry.key, &entry.value))
    }

    /// The last block whose first key is not above `key`, or the first block.
    fn block_of(&self, key: &[u8]) -> usize {
        self.blocks.partition_point(|block| block.entries[0].key.as_ref() <= key).saturating_sub(1)
    }

    fn place(&self, key: &[u8]) -> Place {
        let block = self.block_of(key);
        match self.blocks.get(block) {
            None => Place::Missing(0, 0),
            Some(found) => match found.entries.binary_search_by(|e| e.key.as_ref().cmp(key)) {
                Ok(entry) => Place::Found(block, entry),
                Err(entry) => Place::Missing(block, entry),
            },
        }
    }

    fn insert(&mut self, block: usize, at: usize, entry: Entry<V>) {
        let Some(target) = self.blocks.get_mut(block) else {
            self.blocks.push(Block::of(vec![entry]));
            return;
        };
        if target.entries.len() < COUNTED_BLOCK_ENTRIES_MAX {
            target.weight += entry.weight;
            target.entries.insert(at, entry);
            return;
        }
        if at == target.entries.len() {
            // Keys often arrive in ascending order. Starting a new block then leaves full blocks
            // behind, where splitting would leave half-empty ones.
            let mut entries = Vec::with_capacity(COUNTED_BLOCK_ENTRIES_MAX);
            entries.push(entry);
            self.blocks.insert(block + 1, Block::of(entries));
            return;
        }
        let upper = target.entries.split_off(COUNTED_BLOCK_ENTRIES_MAX / 2);
        target.weight = target.entries.iter().map(|entry| entry.weight).sum();
        self.blocks.insert(block + 1, Block::of(upper));
        let half = COUNTED_BLOCK_ENTRIES_MAX / 2;
        let (block, at) = if at <= half { (block, at) } else { (block + 1, at - half) };
        let target = &mut self.blocks[block];
        target.weight += entry.weight;
        target.entries.insert(at, entry);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn key(n: u16) -> Bytes {
        Bytes::from(format!("k{n:05}"))
    }

    proptest! {
        #[test]
        fn agrees_with_a_plain_map(
            puts in prop::collection::vec((0u16..600, -2i64..3), 0..1500),
            ranges in prop::collection::vec((0u16..620, 0u16..620), 1..20),
            sorted in any::<bool>(),
        ) {
            let mut puts = puts;
            if sorted {
                puts.sort_unstable();
            }
            let mut map = CountedMap::default();
            let mut plain: BTreeMap<Bytes, (usize, i64)> = BTreeMap::new();
            for (i, (n, weight)) in puts.into_iter().enumerate() {
                let old = map.put(key(n), i, weight);
                let slot = plain.entry(key(n)).or_insert((usize::MAX, 0));
                prop_assert_eq!(old, (slot.0 != usize::MAX).then_some(slot.0));
                *slot = (i, slot.1 + weight);
            }
            for (a, b) in ranges {
                let range = KeyRange::from_wire(key(a), key(b));
                let expected: i64 =
                    plain.iter().filter(|(k, _)| range.contains(k)).map(|(_, v)| v.1).sum();
                prop_assert_eq!(map.weight(&range), expected);
                prop_assert_eq!(map.get(&key(a)), plain.get(&key(a)).map(|v| &v.0));
                let from: Vec<_> = map.iter_from(&key(a)).map(|(k, v)| (k.clone(), *v)).collect();
                let expected: Vec<_> =
                    plain.range(key(a)..).map(|(k, v)| (k.clone(), v.0)).collect();
                prop_assert_eq!(from, expected);
            }
        }
    }
}
