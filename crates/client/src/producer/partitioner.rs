//! Which partition a record goes to, exactly as Apache Kafka's Java producer decides.
//!
//! With a key: murmur2 of it, so that every client of the world puts a key into the same
//! partition. Without: one partition until a batch's worth of bytes went there, then another one,
//! so that batches fill up (KIP-480, KIP-794).
//!
//! Invariants:
//! - I1: the sequence of sticky partitions follows from the seed and the calls alone.

use std::collections::BTreeMap;

/// The 32-bit murmur2 hash with Apache Kafka's seed.
pub fn murmur2(data: &[u8]) -> i32 {
    const M: u32 = 0x5bd1_e995;
    let mut hash = 0x9747_b28cu32 ^ data.len() as u32;
    let (words, rest) = data.as_chunks::<4>();
    for word in words {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(M);
        k ^= k >> 24;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    if !rest.is_empty() {
        for (index, byte) in rest.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * index);
        }
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    (hash ^ (hash >> 15)) as i32
}

/// The partition of a key among `partitions`, all counted, with a leader or not.
pub fn of_key(key: &[u8], partitions: i32) -> i32 {
    (murmur2(key) & i32::MAX) % partitions.max(1)
}

/// The partitions that records without a key go to, a topic each.
#[derive(Clone, Debug)]
pub struct Sticky {
    batch_bytes: usize,
    seed: u64,
    topics: BTreeMap<String, Current>,
}

#[derive(Clone, Copy, Debug)]
struct Current {
    partition: i32,
    bytes: usize,
}

impl Sticky {
    /// Another partition after every `batch_bytes`.
    pub fn new(batch_bytes: usize, seed: u64) -> Self {
        Self { batch_bytes: batch_bytes.max(1), seed: seed | 1, topics: BTreeMap::new() }
    }

    /// The partition for the next record of a topic; `usable` are those that have a leader, or
    /// all if none has. `None` if the topic has no partition.
    pub fn partition(&mut self, topic: &str, usable: &[i32]) -> Option<i32> {
        let current = self.topics.get(topic).copied();
        let current = current.filter(|current| {
            current.bytes < self.batch_bytes && usable.contains(&current.partition)
        });
        if let Some(current) = current {
            return Some(current.partition);
        }
        let index = self.random() % (usable.len().max(1) as u64);
        let partition = *usable.get(index as usize)?;
        self.topics.insert(topic.to_owned(), Current { partition, bytes: 0 });
        Some(partition)
    }

    /// Counts bytes that went to the current partition.
    pub fn count(&mut self, topic: &str, bytes: usize) {
        if let Some(current) = self.topics.get_mut(topic) {
            current.bytes = current.bytes.saturating_add(bytes);
        }
    }

    /// xorshift64*: good enough to spread load.
    fn random(&mut self) -> u64 {
        self.seed ^= self.seed >> 12;
        self.seed ^= self.seed << 25;
        self.seed ^= self.seed >> 27;
        self.seed.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_the_java_producer() {
        for (text, expected) in [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ] {
            assert_eq!(murmur2(text.as_bytes()), expected, "{text}");
        }
        assert_eq!(of_key(b"21", 7), (-973_932_308i32 & i32::MAX) % 7);
    }

    #[test]
    fn sticky_partition_changes_after_a_batch_and_every_partition_gets_its_share() {
        let mut sticky = Sticky::new(100, 42);
        let usable = [0, 1, 2, 3];
        let mut counts = [0; 4];
        for _ in 0..400 {
            let partition = sticky.partition("t", &usable).unwrap();
            sticky.count("t", 60);
            assert_eq!(sticky.partition("t", &usable), Some(partition));
            sticky.count("t", 60);
            counts[partition as usize] += 1;
        }
        assert!(counts.iter().all(|count| (60..=140).contains(count)), "{counts:?}");
        assert_eq!(sticky.partition("t", &[9]), Some(9));
        assert_eq!(sticky.partition("t", &[]), None);
    }
}
