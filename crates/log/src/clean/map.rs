//! The newest offset of each key in the dirty part of a log.
//!
//! Keys are told apart by the first 128 bits of their SHA-256, so that an entry takes 24 bytes
//! however long its key is: what Apache Kafka's table takes, too, and `log.cleaner.dedupe.buffer
//! .size` means the same here. (Its hash is MD5, for which anybody can make two keys that look the
//! same; nothing outside of a cleaning sees the hash.)
//!
//! Invariants:
//! - I1: no more memory is taken than the budget allows, nor than the offsets to come can fill.
//! - I2: whether the map counts as full depends on the budget alone, not on what was allocated.

use sha2::{Digest, Sha256};

/// How much memory the newest offsets of keys may take.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MapBudget {
    /// `log.cleaner.dedupe.buffer.size`, divided among the threads.
    pub bytes: u64,
    /// `log.cleaner.io.buffer.load.factor`: how full the table may get, above 0 and at most 1.
    pub load_factor: f64,
}

impl Default for MapBudget {
    /// What one thread has by default.
    fn default() -> Self {
        Self { bytes: 128 << 20, load_factor: 0.9 }
    }
}

impl MapBudget {
    /// Keys that fit; a cleaning makes progress with at least one.
    pub fn keys(&self) -> u64 {
        // A table of Apache Kafka's is one array, which ends at two gigabytes.
        let slots = self.bytes.min(i32::MAX as u64) / ENTRY_BYTES;
        let keys = (slots as f64 * self.load_factor.clamp(0.0, 1.0)) as u64;
        keys.max(1)
    }
}

/// The map.
#[derive(Debug)]
pub(super) struct OffsetMap {
    /// A key's hash and newest offset; a hash of 0 is an empty place.
    hashes: Vec<u128>,
    offsets: Vec<i64>,
    len: u64,
    keys_max: u64,
    latest: i64,
}

impl OffsetMap {
    /// An empty map for at most `offsets` records.
    pub fn new(budget: MapBudget, offsets: u64) -> Self {
        let keys_max = budget.keys();
        // A tenth is left empty at least, so that a search ends soon.
        let needed = keys_max.min(offsets.max(1));
        let slots = (needed + needed / 9 + 1) as usize;
        Self { hashes: vec![0; slots], offsets: vec![0; slots], len: 0, keys_max, latest: -1 }
    }

    /// True if no record may be entered any more, not even one whose key is known.
    pub fn is_full(&self) -> bool {
        self.len >= self.keys_max
    }

    /// Keys in it.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Everything up to here was looked at; what is beyond is not judged.
    pub fn latest(&self) -> i64 {
        self.latest
    }

    /// All up to `offset` was looked at.
    pub fn reach(&mut self, offset: i64) {
        self.latest = offset;
    }

    /// Enters a record, the newest so far of its key; false, and nothing done, if the map is full.
    pub fn put(&mut self, key: &[u8], offset: i64) -> bool {
        if self.is_full() {
            return false;
        }
        let hash = hash_of(key);
        let slot = self.slot(hash);
        if let (Some(known), Some(newest)) = (self.hashes.get_mut(slot), self.offsets.get_mut(slot))
        {
            self.len += u64::from(*known == 0);
            *known = hash;
            *newest = offset;
        }
        self.latest = offset;
        true
    }

    /// The newest offset of a key; -1 if none was entered.
    pub fn get(&self, key: &[u8]) -> i64 {
        let hash = hash_of(key);
        let slot = self.slot(hash);
        match (self.hashes.get(slot), self.offsets.get(slot)) {
            (Some(known), Some(offset)) if *known == hash => *offset,
            _ => -1,
        }
    }

    /// Where that hash is, or would be.
    fn slot(&self, hash: u128) -> usize {
        let slots = self.hashes.len();
        let mut slot = (hash % slots as u128) as usize;
        while self.hashes.get(slot).is_some_and(|known| *known != 0 && *known != hash) {
            slot = (slot + 1) % slots;
        }
        slot
    }
}

fn hash_of(key: &[u8]) -> u128 {
    let digest = Sha256::digest(key);
    let front = digest.first_chunk::<16>().copied().unwrap_or_default();
    // 0 marks empty places; whichever key has it, if there is one, is told apart as 1.
    u128::from_be_bytes(front).max(1)
}

/// Hash and offset.
const ENTRY_BYTES: u64 = 24;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_offset_of_each_key_is_known() {
        let mut map = OffsetMap::new(MapBudget::default(), 2_000);
        for offset in 0..2_000i64 {
            assert!(map.put(&(offset % 500).to_be_bytes(), offset));
        }
        assert_eq!((map.len(), map.latest()), (500, 1_999));
        for key in 0..500i64 {
            assert_eq!(map.get(&key.to_be_bytes()), 1_500 + key);
        }
        assert_eq!(map.get(b"never seen"), -1);
    }

    #[test]
    fn a_full_map_takes_nothing_and_the_budget_decides_when() {
        let budget = MapBudget { bytes: 24 * 10, load_factor: 0.9 };
        assert_eq!(budget.keys(), 9);
        for offsets in [9, 1_000] {
            let mut map = OffsetMap::new(budget, offsets);
            assert!((0..9).all(|key| map.put(&[key], i64::from(key))));
            assert!(!map.put(&[0], 99) && !map.put(&[77], 99));
            assert_eq!((map.latest(), map.get(&[0]), map.get(&[77])), (8, 0, -1));
        }
        let none = MapBudget { bytes: 0, load_factor: 0.0 };
        assert!(OffsetMap::new(none, 5).put(b"k", 3), "one key always fits");
    }
}
