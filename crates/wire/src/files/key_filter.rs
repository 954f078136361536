//! `<base offset>.keyfilter`: which keys a rolled segment may hold. A file of our own (decision 9);
//! Apache Kafka leaves it alone.
//!
//! It is a Bloom filter in blocks: all bits of a key are in one block, so that a look-up reads 64
//! bytes. The first 64 bytes are the header, all others are blocks of 60 bytes of bits and a
//! checksum. Numbers are big-endian.
//!
//! | byte of the header | what |
//! |---|---|
//! | 0 | `OTKF` |
//! | 4 | version, 16 bits: 1 |
//! | 6 | 16 bits: 1 if there are records without a key |
//! | 8 | base offset of the segment |
//! | 16 | bytes in the segment |
//! | 24 | the byte at which its last batch begins |
//! | 32 | the offset after that batch |
//! | 40 | that batch's checksum, 32 bits |
//! | 44 | blocks that follow, 32 bits: a power of two, or 0 if the filter would be of no use |
//! | 48 | records with a key |
//! | 56 | 32 bits: 0 |
//! | 60 | CRC-32C of the 60 bytes before |
//!
//! A block's checksum is the CRC-32C of the header's checksum, the block's number (32 bits) and its
//! 60 bytes: a block of another file, or another place, is not taken for it.
//!
//! Invariants:
//! - I1: a filter never denies a key that was entered. Whatever is damaged is an error, not a no.
//! - I2: the hash and the places of bits are part of the format: they change with its version only.
//! - I3: building takes at most [`BLOCKS_MAX`] blocks of memory, whatever is entered.

use super::FileError;
use crate::crc32c;

/// A key's hash (XXH64, seed 0).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyHash(u64);

impl KeyHash {
    /// The hash of a key's bytes.
    pub fn of(key: &[u8]) -> Self {
        Self(xxh64(key))
    }

    /// Which of so many blocks has its bits.
    fn block(self, blocks: u32) -> u32 {
        (((self.0 >> 32) * u64::from(blocks)) >> 32) as u32
    }

    /// Its bits: byte of the block, and mask.
    fn bits(self) -> impl Iterator<Item = (usize, u8)> {
        // The block was chosen by the hash's upper half: its bits must not follow from that.
        let (first, second) = (mix(self.0), mix(self.0.wrapping_add(GOLDEN)));
        let wide = u128::from(first) << 64 | u128::from(second);
        (0..BITS_PER_KEY).map(move |index| {
            let piece = (wide >> (16 * index)) as u16;
            let bit = (u32::from(piece) * BLOCK_BITS) >> 16;
            ((bit / 8) as usize, 1 << (bit % 8))
        })
    }
}

/// The segment that a filter speaks of. Segments are changed by truncation and by compaction, ours
/// or Apache Kafka's in the same directory, and each changes some of this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FilteredSegment {
    /// Its base offset.
    pub base: i64,
    /// Bytes in it.
    pub size: u64,
    /// The byte at which its last batch begins.
    pub tail_position: u64,
    /// The offset after its last batch.
    pub end: i64,
    /// That batch's checksum.
    pub tail_crc: u32,
}

/// The header of a filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyFilterHeader {
    /// What it speaks of.
    pub segment: FilteredSegment,
    /// Blocks that follow.
    pub blocks: u32,
    /// Records with a key in the segment.
    pub keyed: u64,
    /// There are records without one.
    pub keyless: bool,
    crc: u32,
}

impl KeyFilterHeader {
    /// Reads the first [`BLOCK_BYTES`] of a file.
    ///
    /// # Errors
    /// They are no such header, or damaged.
    pub fn parse(content: &[u8]) -> Result<Self, FileError> {
        let short = FileError::Byte { at: content.len(), what: "a key filter's header" };
        let head: &[u8; BLOCK_BYTES] = content.first_chunk().ok_or(short)?;
        let (fields, stored) = checked(head);
        let computed = crc32c::of(fields);
        if stored != computed {
            return Err(FileError::Crc { stored, computed });
        }
        let mut fields = fields.as_slice();
        let mut take = |count: usize| {
            let (field, rest) = fields.split_at_checked(count).unwrap_or_default();
            fields = rest;
            field.iter().fold(0u64, |number, byte| number << 8 | u64::from(*byte))
        };
        if (take(4), take(2)) != (MAGIC, VERSION) {
            return Err(FileError::Byte { at: 0, what: "a key filter of version 1" });
        }
        let flags = take(2);
        let (base, size, tail_position) = (take(8) as i64, take(8), take(8));
        let (end, tail_crc, blocks) = (take(8) as i64, take(4) as u32, take(4) as u32);
        let keyed = take(8);
        let known = flags <= 1 && (blocks == 0 || blocks.is_power_of_two());
        if !known || blocks > BLOCKS_MAX || take(4) != 0 {
            return Err(FileError::Byte { at: 6, what: "flags and blocks of version 1" });
        }
        let segment = FilteredSegment { base, size, tail_position, end, tail_crc };
        Ok(Self { segment, blocks, keyed, keyless: flags == 1, crc: stored })
    }

    /// Bytes in the whole file.
    pub fn file_bytes(&self) -> u64 {
        (u64::from(self.blocks) + 1) * BLOCK_BYTES as u64
    }

    /// The byte of the file at which the block with a key's bits begins; `None` if there is none,
    /// and the segment may hold whatever key.
    pub fn position(&self, key: KeyHash) -> Option<u64> {
        let block = (self.blocks > 0).then(|| key.block(self.blocks))?;
        Some((u64::from(block) + 1) * BLOCK_BYTES as u64)
    }

    /// False if the segment holds no record with that key; `block` is what is at
    /// [`Self::position`].
    ///
    /// # Errors
    /// The block is cut off or damaged, or is another one.
    pub fn may_hold(&self, key: KeyHash, block: &[u8]) -> Result<bool, FileError> {
        let at = self.position(key).unwrap_or_default() as usize;
        let block: &[u8; BLOCK_BYTES] =
            block.first_chunk().ok_or(FileError::Byte { at, what: "a block of a key filter" })?;
        let (bits, stored) = checked(block);
        let computed = block_crc(self.crc, key.block(self.blocks), bits);
        if stored != computed {
            return Err(FileError::Crc { stored, computed });
        }
        Ok(key.bits().all(|(byte, mask)| bits.get(byte).is_some_and(|bits| bits & mask != 0)))
    }
}

/// A filter that keys are entered in. How many different ones there are need not be known: it
/// begins large, and is folded as long as it stays good enough.
#[derive(Clone, Debug)]
pub struct KeyFilterBuilder {
    blocks: Vec<[u8; BITS_BYTES]>,
    keyed: u64,
    keyless: bool,
}

impl KeyFilterBuilder {
    /// One for a segment of so many bytes.
    pub fn new(segment_bytes: u64) -> Self {
        // A bit for every fourth byte is plenty even where a codec packed the records well.
        let blocks = (segment_bytes / 2 / BLOCK_BYTES as u64).clamp(64, u64::from(BLOCKS_MAX));
        let blocks = blocks.next_power_of_two().min(u64::from(BLOCKS_MAX)) as usize;
        Self { blocks: vec![[0; BITS_BYTES]; blocks], keyed: 0, keyless: false }
    }

    /// Takes note of a record.
    pub fn enter(&mut self, key: Option<&[u8]>) {
        let Some(key) = key else {
            self.keyless = true;
            return;
        };
        self.keyed += 1;
        let hash = KeyHash::of(key);
        let place = hash.block(self.blocks.len() as u32) as usize;
        if let Some(block) = self.blocks.get_mut(place) {
            for (byte, mask) in hash.bits() {
                if let Some(bits) = block.get_mut(byte) {
                    *bits |= mask;
                }
            }
        }
    }

    /// The file's content.
    pub fn finish(mut self, segment: FilteredSegment) -> Vec<u8> {
        while self.blocks.len() > 1 {
            // Neighbours, because a key's block is its hash's upper bits, and with half as many
            // there is one bit less of these.
            let (pairs, _) = self.blocks.as_chunks::<2>();
            let folded: Vec<_> = pairs.iter().map(|[one, other]| merged(one, other)).collect();
            if false_positives(&folded) > FALSE_POSITIVES_MAX {
                break;
            }
            self.blocks = folded;
        }
        if false_positives(&self.blocks) > USELESS {
            self.blocks.clear();
        }
        let mut file = Vec::with_capacity((self.blocks.len() + 1) * BLOCK_BYTES);
        file.extend_from_slice(&(MAGIC as u32).to_be_bytes());
        file.extend_from_slice(&(VERSION as u16).to_be_bytes());
        file.extend_from_slice(&u16::from(self.keyless).to_be_bytes());
        file.extend_from_slice(&segment.base.to_be_bytes());
        file.extend_from_slice(&segment.size.to_be_bytes());
        file.extend_from_slice(&segment.tail_position.to_be_bytes());
        file.extend_from_slice(&segment.end.to_be_bytes());
        file.extend_from_slice(&segment.tail_crc.to_be_bytes());
        file.extend_from_slice(&(self.blocks.len() as u32).to_be_bytes());
        file.extend_from_slice(&self.keyed.to_be_bytes());
        file.extend_from_slice(&[0; 4]);
        let crc = crc32c::of(&file);
        file.extend_from_slice(&crc.to_be_bytes());
        for (number, bits) in (0u32..).zip(&self.blocks) {
            file.extend_from_slice(bits);
            file.extend_from_slice(&block_crc(crc, number, bits).to_be_bytes());
        }
        file
    }
}

/// 60 bytes, and the checksum behind them.
fn checked(block: &[u8; BLOCK_BYTES]) -> (&[u8; BITS_BYTES], u32) {
    const NONE: &[u8; BITS_BYTES] = &[0; BITS_BYTES];
    // The lengths are what the types say; there is nothing to fall back to.
    let (bits, crc) = block.split_first_chunk().unwrap_or((NONE, &[]));
    (bits, crc.first_chunk().map_or(0, |crc| u32::from_be_bytes(*crc)))
}

fn block_crc(header: u32, number: u32, bits: &[u8; BITS_BYTES]) -> u32 {
    crc32c::of_parts(&[&header.to_be_bytes(), &number.to_be_bytes(), bits])
}

fn merged(one: &[u8; BITS_BYTES], other: &[u8; BITS_BYTES]) -> [u8; BITS_BYTES] {
    let mut merged = *one;
    merged.iter_mut().zip(other).for_each(|(byte, other)| *byte |= other);
    merged
}

/// The share of keys that are not there for which the filter would say that they may be.
fn false_positives(blocks: &[[u8; BITS_BYTES]]) -> f64 {
    let of = |block: &[u8; BITS_BYTES]| {
        let set: u32 = block.iter().map(|byte| byte.count_ones()).sum();
        (f64::from(set) / f64::from(BLOCK_BITS)).powi(BITS_PER_KEY as i32)
    };
    blocks.iter().map(of).sum::<f64>() / blocks.len().max(1) as f64
}

/// XXH64 with seed 0, as published.
fn xxh64(data: &[u8]) -> u64 {
    let round = |lane: u64, word: u64| {
        lane.wrapping_add(word.wrapping_mul(PRIMES[1])).rotate_left(31).wrapping_mul(PRIMES[0])
    };
    let (stripes, rest) = data.as_chunks::<32>();
    let mut hash = PRIMES[4];
    if !stripes.is_empty() {
        let [first, second, ..] = PRIMES;
        let mut lanes = [first.wrapping_add(second), second, 0, first.wrapping_neg()];
        for stripe in stripes {
            for (lane, word) in lanes.iter_mut().zip(stripe.as_chunks::<8>().0) {
                *lane = round(*lane, u64::from_le_bytes(*word));
            }
        }
        let turned = lanes.iter().zip([1, 7, 12, 18]).map(|(lane, by)| lane.rotate_left(by));
        hash = turned.fold(0, u64::wrapping_add);
        for lane in lanes {
            hash = (hash ^ round(0, lane)).wrapping_mul(first).wrapping_add(PRIMES[3]);
        }
    }
    hash = hash.wrapping_add(data.len() as u64);
    let (words, rest) = rest.as_chunks::<8>();
    for word in words {
        hash ^= round(0, u64::from_le_bytes(*word));
        hash = hash.rotate_left(27).wrapping_mul(PRIMES[0]).wrapping_add(PRIMES[3]);
    }
    let (halves, rest) = rest.as_chunks::<4>();
    for half in halves {
        hash ^= u64::from(u32::from_le_bytes(*half)).wrapping_mul(PRIMES[0]);
        hash = hash.rotate_left(23).wrapping_mul(PRIMES[1]).wrapping_add(PRIMES[2]);
    }
    for byte in rest {
        hash ^= u64::from(*byte).wrapping_mul(PRIMES[4]);
        hash = hash.rotate_left(11).wrapping_mul(PRIMES[0]);
    }
    hash = (hash ^ (hash >> 33)).wrapping_mul(PRIMES[1]);
    hash = (hash ^ (hash >> 29)).wrapping_mul(PRIMES[2]);
    hash ^ (hash >> 32)
}

/// The finalizer of splitmix64.
fn mix(word: u64) -> u64 {
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

/// Bytes of the header and of each block.
pub const BLOCK_BYTES: usize = 64;
/// The most blocks of a filter, 16 MiB: enough for 15 million keys.
pub const BLOCKS_MAX: u32 = 1 << 18;
const BITS_BYTES: usize = BLOCK_BYTES - 4;
const BLOCK_BITS: u32 = 8 * BITS_BYTES as u32;
const BITS_PER_KEY: u32 = 7;
/// Folding goes on up to here: some 58 keys a block, 9 bits a key; half of that, before the last
/// time, gives one in 1 700.
const FALSE_POSITIVES_MAX: f64 = 0.02;
/// A filter that says yes as often as this spares too little to be asked.
const USELESS: f64 = 0.5;
const MAGIC: u64 = 0x4f54_4b46;
const VERSION: u64 = 1;
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
const PRIMES: [u64; 5] = [
    0x9e37_79b1_85eb_ca87,
    0xc2b2_ae3d_27d4_eb4f,
    0x1656_67b1_9e37_79f9,
    0x85eb_ca77_c2b2_ae63,
    0x27d4_eb2f_1656_67c5,
];

#[cfg(test)]
#[path = "key_filter/tests.rs"]
mod tests;
