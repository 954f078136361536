//! Record batches of format v2 (KIP-98): the 61-byte header, walking a buffer of several
//! batches, checking one, and patching the fields a broker sets.
//!
//! Owns the layout of the header. Payloads stay opaque here; `record` opens them.
//!
//! Invariants:
//! - I1: a batch handed out by [`Batches`] has magic 2 and exactly `size_in_bytes()` bytes, of
//!   which at least the header.
//! - I2: patching never copies a payload. Offset, length, leader epoch and magic precede the CRC
//!   and are not covered by it, so placing a batch in a log needs no checksum.

use bytes::Bytes;

use crate::crc32c;

/// Bytes of a v2 header.
pub const HEADER_BYTES: usize = 61;
/// Bytes before and including the length field; the length counts what follows them.
pub const LOG_OVERHEAD: usize = 12;
/// Bytes of the header that the CRC does not cover and a broker may patch: offset, length,
/// leader epoch, magic.
pub const PREFIX_BYTES: usize = 17;
/// The CRC covers everything from here on.
pub const CRC_START: usize = 21;
/// The largest batch: its length is a signed 32-bit number.
pub const SIZE_MAX: usize = i32::MAX as usize;
/// "No producer", "no epoch", "no sequence" and "no timestamp".
pub const NONE: i64 = -1;

/// What is wrong with a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// The buffer ends within the batch.
    #[error("batch truncated: needs {needed} bytes, {have} are there")]
    Truncated {
        /// Bytes the batch (or the part of its header that tells) takes.
        needed: usize,
        /// Bytes there are.
        have: usize,
    },
    /// A message set of before format v2: legal in old files, never from today's producers.
    #[error("message format v{0} (before record batches)")]
    OldMagic(i8),
    /// A format nobody has defined.
    #[error("unknown message format {0}")]
    UnknownMagic(i8),
    /// A length field no batch can have.
    #[error("impossible batch length {0}")]
    BadSize(i32),
    /// The checksum does not match the bytes.
    #[error("batch checksum {computed:#010x}, header says {stored:#010x}")]
    Crc {
        /// The header's.
        stored: u32,
        /// That of the bytes.
        computed: u32,
    },
}

/// Whose clock stamped the records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TimestampType {
    /// The producer's.
    #[default]
    CreateTime,
    /// The leader's; every record has the batch's `max_timestamp`.
    LogAppendTime,
}

/// The fields of a v2 header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    /// Offset of the first record (before compaction).
    pub base_offset: i64,
    /// Bytes after the length field.
    pub length: i32,
    /// Epoch of the leader that appended it; -1 from a producer.
    pub leader_epoch: i32,
    /// Always 2.
    pub magic: i8,
    /// CRC-32C of everything after this field.
    pub crc: u32,
    /// Bits 0-2 codec, 3 timestamp type, 4 transactional, 5 control, 6 delete horizon (KIP-534).
    pub attributes: i16,
    /// Last offset relative to the first.
    pub last_offset_delta: i32,
    /// Milliseconds the records' deltas count from, or the delete horizon.
    pub base_timestamp: i64,
    /// The largest timestamp of the records, in milliseconds.
    pub max_timestamp: i64,
    /// -1 if the producer is not idempotent.
    pub producer_id: i64,
    /// Epoch of the producer id.
    pub producer_epoch: i16,
    /// Sequence number of the first record.
    pub base_sequence: i32,
    /// Records in the batch (after compaction).
    pub count: i32,
}

impl BatchHeader {
    /// Reads the header at the start of `bytes`; the payload need not be there.
    ///
    /// # Errors
    /// All of [`BatchError`] but the checksum.
    pub fn parse(bytes: &[u8]) -> Result<Self, BatchError> {
        let have = bytes.len();
        // Magic sits at the same place in all formats, and so tells an old set even where it is
        // shorter than a header of today.
        let Some(prefix) = bytes.first_chunk::<PREFIX_BYTES>() else {
            return Err(BatchError::Truncated { needed: HEADER_BYTES, have });
        };
        let magic = field::<1>(prefix, 16)[0] as i8;
        match magic {
            2 => {}
            0 | 1 => return Err(BatchError::OldMagic(magic)),
            other => return Err(BatchError::UnknownMagic(other)),
        }
        let length = i32::from_be_bytes(field(prefix, 8));
        if length < (HEADER_BYTES - LOG_OVERHEAD) as i32
            || length as usize > SIZE_MAX - LOG_OVERHEAD
        {
            return Err(BatchError::BadSize(length));
        }
        let Some(header) = bytes.first_chunk::<HEADER_BYTES>() else {
            return Err(BatchError::Truncated { needed: HEADER_BYTES, have });
        };
        Ok(Self {
            base_offset: i64::from_be_bytes(field(header, 0)),
            length,
            leader_epoch: i32::from_be_bytes(field(header, 12)),
            magic,
            crc: u32::from_be_bytes(field(header, 17)),
            attributes: i16::from_be_bytes(field(header, 21)),
            last_offset_delta: i32::from_be_bytes(field(header, 23)),
            base_timestamp: i64::from_be_bytes(field(header, 27)),
            max_timestamp: i64::from_be_bytes(field(header, 35)),
            producer_id: i64::from_be_bytes(field(header, 43)),
            producer_epoch: i16::from_be_bytes(field(header, 51)),
            base_sequence: i32::from_be_bytes(field(header, 53)),
            count: i32::from_be_bytes(field(header, 57)),
        })
    }

    /// The header's bytes, as they are.
    pub fn to_bytes(&self) -> [u8; HEADER_BYTES] {
        let mut out = Vec::with_capacity(HEADER_BYTES);
        out.extend_from_slice(&self.base_offset.to_be_bytes());
        out.extend_from_slice(&self.length.to_be_bytes());
        out.extend_from_slice(&self.leader_epoch.to_be_bytes());
        out.push(self.magic as u8);
        out.extend_from_slice(&self.crc.to_be_bytes());
        self.covered_fields(&mut out);
        out.first_chunk().copied().unwrap_or([0; HEADER_BYTES])
    }

    /// The header's fields behind the CRC.
    fn covered_fields(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.attributes.to_be_bytes());
        out.extend_from_slice(&self.last_offset_delta.to_be_bytes());
        out.extend_from_slice(&self.base_timestamp.to_be_bytes());
        out.extend_from_slice(&self.max_timestamp.to_be_bytes());
        out.extend_from_slice(&self.producer_id.to_be_bytes());
        out.extend_from_slice(&self.producer_epoch.to_be_bytes());
        out.extend_from_slice(&self.base_sequence.to_be_bytes());
        out.extend_from_slice(&self.count.to_be_bytes());
    }

    /// Sets [`Self::crc`] to what the fields and `payload` (all after the header) give.
    pub fn seal(&mut self, payload: &[u8]) {
        let mut covered = Vec::with_capacity(HEADER_BYTES - CRC_START);
        self.covered_fields(&mut covered);
        self.crc = crc32c::of_parts(&[&covered, payload]);
    }

    /// A batch without records in this one's place, as compaction leaves where a producer's last
    /// sequence must stay known: offsets, producer, sequence and latest timestamp are kept; codec,
    /// base timestamp and delete horizon are not.
    pub fn emptied(&self) -> [u8; HEADER_BYTES] {
        let kept = ATTRIBUTE_LOG_APPEND_TIME | ATTRIBUTE_TRANSACTIONAL | ATTRIBUTE_CONTROL;
        let mut header = Self {
            length: (HEADER_BYTES - LOG_OVERHEAD) as i32,
            attributes: self.attributes & kept,
            base_timestamp: NONE,
            count: 0,
            ..*self
        };
        header.seal(&[]);
        header.to_bytes()
    }

    /// Offset of the last record; saturates where hostile fields would overflow.
    pub fn last_offset(&self) -> i64 {
        self.base_offset.saturating_add(i64::from(self.last_offset_delta))
    }

    /// Offset after the last record.
    pub fn next_offset(&self) -> i64 {
        self.last_offset().saturating_add(1)
    }

    /// The codec's number in the attributes; `compress::Compression::from_id` names it.
    pub fn compression_id(&self) -> u8 {
        (self.attributes & 7) as u8
    }

    /// The codec, `None` for the three numbers nobody has defined.
    pub fn compression(&self) -> Option<crate::compress::Compression> {
        crate::compress::Compression::from_id(self.compression_id())
    }

    /// Whose clock the timestamps are of.
    pub fn timestamp_type(&self) -> TimestampType {
        if self.attributes & ATTRIBUTE_LOG_APPEND_TIME == 0 {
            TimestampType::CreateTime
        } else {
            TimestampType::LogAppendTime
        }
    }

    /// Part of a transaction.
    pub fn is_transactional(&self) -> bool {
        self.attributes & ATTRIBUTE_TRANSACTIONAL != 0
    }

    /// Written by a broker or controller, not for applications.
    pub fn is_control(&self) -> bool {
        self.attributes & ATTRIBUTE_CONTROL != 0
    }

    /// `base_timestamp` is the time from which the cleaner may drop tombstones (KIP-534).
    pub fn has_delete_horizon(&self) -> bool {
        self.attributes & ATTRIBUTE_DELETE_HORIZON != 0
    }

    /// True if the batch has a producer id.
    pub fn has_producer_id(&self) -> bool {
        self.producer_id > NONE
    }

    /// The whole batch, header included.
    pub fn size_in_bytes(&self) -> usize {
        LOG_OVERHEAD + self.length.max(0) as usize
    }

    /// Sequence number of the last record; -1 without one.
    pub fn last_sequence(&self) -> i32 {
        if self.base_sequence == -1 {
            return -1;
        }
        increment_sequence(self.base_sequence, self.last_offset_delta)
    }

    /// The uncovered prefix with the fields a leader sets; the rest of the batch follows as it
    /// is, so that appending neither copies nor checksums a payload (I2).
    pub fn stamp(&self, base_offset: i64, leader_epoch: i32) -> [u8; PREFIX_BYTES] {
        let patched = Self { base_offset, leader_epoch, ..*self }.to_bytes();
        patched.first_chunk().copied().unwrap_or([0; PREFIX_BYTES])
    }

    /// The whole header for `message.timestamp.type=LogAppendTime`: as [`Self::stamp`], with
    /// `max_timestamp` and the attribute set and the CRC computed anew over `batch`'s payload.
    ///
    /// `batch` is the batch this header was parsed from; its base timestamp stays, as in Apache
    /// Kafka's `setMaxTimestamp`.
    pub fn stamp_log_append_time(
        &self,
        base_offset: i64,
        leader_epoch: i32,
        now_ms: i64,
        batch: &[u8],
    ) -> [u8; HEADER_BYTES] {
        let attributes = self.attributes | ATTRIBUTE_LOG_APPEND_TIME;
        let mut header =
            Self { base_offset, leader_epoch, attributes, max_timestamp: now_ms, ..*self };
        header.seal(batch.get(HEADER_BYTES..).unwrap_or_default());
        header.to_bytes()
    }
}

/// Compares the checksum in the header with the bytes of `batch` (one whole batch).
///
/// # Errors
/// [`BatchError::Crc`], or why the header can't be read.
pub fn verify_crc(batch: &[u8]) -> Result<(), BatchError> {
    let header = BatchHeader::parse(batch)?;
    let size = header.size_in_bytes();
    let Some(covered) = batch.get(CRC_START..size) else {
        return Err(BatchError::Truncated { needed: size, have: batch.len() });
    };
    let computed = crc32c::of(covered);
    if computed == header.crc {
        Ok(())
    } else {
        Err(BatchError::Crc { stored: header.crc, computed })
    }
}

/// The sequence number `increment` after `sequence`; wraps from `i32::MAX` to 0.
pub fn increment_sequence(sequence: i32, increment: i32) -> i32 {
    let sum = i64::from(sequence) + i64::from(increment);
    if sum > i64::from(i32::MAX) { (sum - i64::from(i32::MAX) - 1) as i32 } else { sum as i32 }
}

/// The sequence number `decrement` before `sequence`; wraps from 0 to `i32::MAX`.
pub fn decrement_sequence(sequence: i32, decrement: i32) -> i32 {
    let difference = i64::from(sequence) - i64::from(decrement);
    if difference < 0 { (difference + i64::from(i32::MAX) + 1) as i32 } else { difference as i32 }
}

/// Walks the batches of a buffer; checksums are not looked at. Ends after the first error.
#[derive(Clone, Debug)]
pub struct Batches {
    left: Bytes,
    failed: bool,
}

impl Batches {
    /// Starts at the first byte of `records`.
    pub fn new(records: Bytes) -> Self {
        Self { left: records, failed: false }
    }

    /// What was not walked yet (from the failing batch on, after an error).
    pub fn rest(&self) -> &Bytes {
        &self.left
    }
}

impl Iterator for Batches {
    type Item = Result<(BatchHeader, Bytes), BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed || self.left.is_empty() {
            return None;
        }
        let parsed = BatchHeader::parse(&self.left).and_then(|header| {
            let (needed, have) = (header.size_in_bytes(), self.left.len());
            if needed > have {
                return Err(BatchError::Truncated { needed, have });
            }
            Ok((header, self.left.split_to(needed)))
        });
        self.failed = parsed.is_err();
        Some(parsed)
    }
}

/// `N` bytes at `at`; callers name constants within a buffer whose length was checked.
fn field<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let chunk = bytes.get(at..).and_then(|rest| rest.first_chunk::<N>());
    debug_assert!(chunk.is_some(), "field at {at} outside of the header");
    chunk.copied().unwrap_or([0; N])
}

/// Timestamps are the leader's.
pub const ATTRIBUTE_LOG_APPEND_TIME: i16 = 1 << 3;
/// Part of a transaction.
pub const ATTRIBUTE_TRANSACTIONAL: i16 = 1 << 4;
/// A control batch.
pub const ATTRIBUTE_CONTROL: i16 = 1 << 5;
/// The base timestamp is a delete horizon.
pub const ATTRIBUTE_DELETE_HORIZON: i16 = 1 << 6;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{BatchBuilder, BatchOptions};

    fn batch(base_offset: i64, values: &[&str]) -> Bytes {
        let mut builder = BatchBuilder::new(BatchOptions { base_offset, ..Default::default() });
        for value in values {
            builder.push(1_000, None, Some(value.as_bytes()), &[]);
        }
        builder.build().unwrap()
    }

    #[test]
    fn header_round_trips_and_walks_back_to_back_batches() {
        let (first, second) = (batch(0, &["a", "b"]), batch(2, &["c"]));
        let both = Bytes::from([first.clone(), second.clone()].concat());
        let seen: Vec<_> = Batches::new(both).map(Result::unwrap).collect();
        assert_eq!(seen.len(), 2);
        assert_eq!((seen[0].0.last_offset(), seen[1].0.base_offset), (1, 2));
        assert_eq!(seen[1].1, second);
        assert_eq!(&seen[0].0.to_bytes()[..], &first[..HEADER_BYTES]);
    }

    #[test]
    fn stamping_leaves_the_checksum_valid_without_touching_the_payload() {
        let bytes = batch(0, &["a", "b"]);
        let header = BatchHeader::parse(&bytes).unwrap();
        let placed = [&header.stamp(77, 5)[..], &bytes[PREFIX_BYTES..]].concat();
        verify_crc(&placed).unwrap();
        let stamped = BatchHeader::parse(&placed).unwrap();
        assert_eq!((stamped.base_offset, stamped.leader_epoch), (77, 5));

        let whole = header.stamp_log_append_time(9, 1, 123, &bytes);
        let placed = [&whole[..], &bytes[HEADER_BYTES..]].concat();
        verify_crc(&placed).unwrap();
        let stamped = BatchHeader::parse(&placed).unwrap();
        assert_eq!(stamped.timestamp_type(), TimestampType::LogAppendTime);
        assert_eq!((stamped.max_timestamp, stamped.base_offset), (123, 9));
    }

    #[test]
    fn each_kind_of_damage_has_its_own_error() {
        let good = batch(0, &["a"]).to_vec();
        let parse =
            |bytes: &[u8]| Batches::new(Bytes::copy_from_slice(bytes)).next().unwrap().unwrap_err();
        for cut in 1..good.len() {
            assert!(
                matches!(parse(&good[..cut]), BatchError::Truncated { have, .. } if have == cut)
            );
        }
        let with = |at: usize, bytes: &[u8]| {
            let mut bad = good.clone();
            bad[at..at + bytes.len()].copy_from_slice(bytes);
            bad
        };
        assert_eq!(parse(&with(16, &[1])), BatchError::OldMagic(1));
        assert_eq!(parse(&with(16, &[3])), BatchError::UnknownMagic(3));
        assert_eq!(parse(&with(8, &48i32.to_be_bytes())), BatchError::BadSize(48));
        assert_eq!(parse(&with(8, &(-1i32).to_be_bytes())), BatchError::BadSize(-1));
        assert_eq!(parse(&with(8, &i32::MAX.to_be_bytes())), BatchError::BadSize(i32::MAX));
        let flipped = with(good.len() - 1, &[0xff]);
        assert!(matches!(verify_crc(&flipped), Err(BatchError::Crc { .. })));
    }

    #[test]
    fn iteration_ends_after_an_error() {
        let mut bytes = batch(0, &["a"]).to_vec();
        bytes.push(0);
        let mut batches = Batches::new(bytes.into());
        assert!(batches.next().unwrap().is_ok());
        assert!(batches.next().unwrap().is_err());
        assert!(batches.next().is_none());
        assert_eq!(batches.rest().len(), 1);
    }

    #[test]
    fn sequence_numbers_wrap_to_zero() {
        assert_eq!(increment_sequence(i32::MAX, 1), 0);
        assert_eq!(increment_sequence(i32::MAX - 1, 3), 1);
        assert_eq!(increment_sequence(5, 2), 7);
        assert_eq!(decrement_sequence(0, 1), i32::MAX);
        assert_eq!(decrement_sequence(increment_sequence(i32::MAX, 9), 9), i32::MAX);
    }
}
