//! Walking the records of a batch without building any: what a broker can afford on every produce.
//!
//! Owns the strict check of produced records ([`check_records`]) and the look at keys alone
//! ([`visit_keys`]). Both see the payload as the codec opens it, piece by piece; only a record that
//! lies across the border of two pieces is copied.
//!
//! Invariants:
//! - I1: what passes [`check_records`] is read to its end by [`record::RecordIter`] but for header
//!   names that are not UTF-8, which Apache Kafka's brokers don't look at either.
//! - I2: memory is what the codec itself takes, a piece, and the largest record that lies across a
//!   border; a length that lies makes that at most the rest of the payload.
//!
//! [`record::RecordIter`]: crate::record::RecordIter

use bytes::Bytes;

use crate::DecodeError;
use crate::batch::{BatchError, BatchHeader, HEADER_BYTES};
use crate::compress::Compression;
use crate::record::RecordError;

/// What all records of a batch have, as [`check_records`] found them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traits {
    /// Keys.
    pub keyed: bool,
    /// Header names that are UTF-8, if any.
    pub named: bool,
}

/// Walks the records of `batch` (one whole batch), decompressing at most `limit` bytes, and checks
/// that they are as many as the header says, numbered from 0 on, and each exactly as long as it
/// says.
///
/// # Errors
/// What is wrong first: a consumer would stumble over it for ever.
pub fn check_records(batch: &Bytes, limit: usize) -> Result<Traits, RecordError> {
    let mut traits = Traits { keyed: true, named: true };
    each_record(batch, limit, |index, body| Walk { body, at: 0 }.check(index, &mut traits))?;
    Ok(traits)
}

/// Shows the key of each record of `batch` (one whole batch), decompressing at most `limit` bytes.
/// Of what follows a key nothing is looked at. Offsets may be missing, as compaction leaves them.
///
/// # Errors
/// What is wrong first.
pub fn visit_keys(
    batch: &Bytes,
    limit: usize,
    mut visit: impl FnMut(Option<&[u8]>),
) -> Result<(), RecordError> {
    each_record(batch, limit, |_, body| {
        visit(Walk { body, at: 0 }.key()?);
        Ok(())
    })
}

/// Calls `visit` with the number and the bytes (behind the length) of each record.
fn each_record(
    batch: &Bytes,
    limit: usize,
    visit: impl FnMut(i32, &[u8]) -> Result<(), DecodeError>,
) -> Result<(), RecordError> {
    let header = BatchHeader::parse(batch)?;
    let size = header.size_in_bytes();
    let have = batch.len();
    let payload =
        batch.get(HEADER_BYTES..size).ok_or(BatchError::Truncated { needed: size, have })?;
    let codec = header.compression().ok_or(RecordError::UnknownCodec(header.compression_id()))?;
    let is_whole = codec == Compression::None;
    let mut cutter =
        Cutter { count: header.count, index: 0, visit, is_whole, torn: Vec::new(), trailing: 0 };
    codec.pieces(payload, limit, |piece| cutter.piece(piece))?;
    cutter.finish()
}

/// Cuts pieces of a payload into records.
struct Cutter<V> {
    count: i32,
    index: i32,
    visit: V,
    /// There is one piece only.
    is_whole: bool,
    /// The beginning of the record that the last piece ended in.
    torn: Vec<u8>,
    /// Bytes behind the last record.
    trailing: usize,
}

impl<V: FnMut(i32, &[u8]) -> Result<(), DecodeError>> Cutter<V> {
    fn piece(&mut self, mut piece: &[u8]) -> Result<(), RecordError> {
        while !self.torn.is_empty() && !piece.is_empty() {
            piece = self.mend(piece)?;
        }
        while self.index < self.count {
            let mut walk = Walk { body: piece, at: 0 };
            let record = match walk.length() {
                Ok(length) => length.and_then(|length| walk.body.get(walk.at..walk.at + length)),
                Err(error) => return Err(self.malformed(error)),
            };
            let Some(record) = record else {
                if self.is_whole {
                    return Err(self.longer(piece.len()));
                }
                self.torn.extend_from_slice(piece);
                return Ok(());
            };
            (self.visit)(self.index, record).map_err(|error| self.malformed(error))?;
            self.index += 1;
            piece = piece.get(walk.at + record.len()..).unwrap_or_default();
        }
        self.trailing += piece.len();
        Ok(())
    }

    /// Adds to the torn record what it lacks, and gives the rest of the piece back.
    fn mend<'a>(&mut self, piece: &'a [u8]) -> Result<&'a [u8], RecordError> {
        let torn = &self.torn;
        let mut walk = Walk { body: torn, at: 0 };
        let lacking = match walk.length() {
            Ok(Some(length)) => (walk.at + length).saturating_sub(torn.len()),
            // Not even its length is whole.
            Ok(None) => 1,
            Err(error) => return Err(self.malformed(error)),
        };
        let (more, rest) = piece.split_at(lacking.min(piece.len()));
        self.torn.extend_from_slice(more);
        let mut walk = Walk { body: &self.torn, at: 0 };
        if let Ok(Some(length)) = walk.length()
            && let Some(record) = walk.body.get(walk.at..walk.at + length)
        {
            (self.visit)(self.index, record)
                .map_err(|source| RecordError::Malformed { index: self.index, source })?;
            self.index += 1;
            self.torn.clear();
        }
        Ok(rest)
    }

    fn finish(self) -> Result<(), RecordError> {
        if self.index < self.count {
            return Err(self.longer(self.torn.len()));
        }
        if self.trailing > 0 {
            return Err(RecordError::TrailingBytes(self.trailing));
        }
        Ok(())
    }

    fn longer(&self, at: usize) -> RecordError {
        self.malformed(DecodeError { what: "record longer than its batch", at })
    }

    fn malformed(&self, source: DecodeError) -> RecordError {
        RecordError::Malformed { index: self.index, source }
    }
}

/// A cursor over one record that only skips.
struct Walk<'a> {
    body: &'a [u8],
    at: usize,
}

impl<'a> Walk<'a> {
    /// The length that precedes a record; `None` if more bytes are needed to know it.
    fn length(&mut self) -> Result<Option<usize>, DecodeError> {
        let whole = || self.body.iter().any(|byte| *byte < 0x80);
        let length = match self.short() {
            Some(short) => short as i32,
            None if self.body.len() < VARINT_BYTES && !whole() => return Ok(None),
            None => self.varint()?,
        };
        match usize::try_from(length) {
            Ok(length) => Ok(Some(length)),
            Err(_) => Err(self.error("negative length")),
        }
    }

    /// The record's key.
    fn key(&mut self) -> Result<Option<&'a [u8]>, DecodeError> {
        self.skip(1)?;
        let _timestamp_delta = self.varlong()?;
        let _offset_delta = self.varint()?;
        let Ok(length) = usize::try_from(self.varint()?) else { return Ok(None) };
        let from = self.at;
        self.skip(length)?;
        Ok(self.body.get(from..self.at))
    }

    fn check(&mut self, index: i32, traits: &mut Traits) -> Result<(), DecodeError> {
        self.skip(1)?;
        let _timestamp_delta = self.varlong()?;
        if self.varint()? != index {
            return Err(self.error("offset delta out of order"));
        }
        traits.keyed &= self.nullable()?;
        self.nullable()?;
        let headers = self.varint()?;
        let left = self.body.len() - self.at;
        if usize::try_from(headers).map_or(true, |count| count > left / 2) {
            return Err(self.error("impossible header count"));
        }
        for _ in 0..headers {
            let Ok(length) = usize::try_from(self.varint()?) else {
                return Err(self.error("null header name"));
            };
            let from = self.at;
            self.skip(length)?;
            traits.named &=
                self.body.get(from..self.at).is_some_and(|name| std::str::from_utf8(name).is_ok());
            self.nullable()?;
        }
        match self.body.len() - self.at {
            0 => Ok(()),
            _ => Err(self.error("record of another length")),
        }
    }

    #[cold]
    fn error(&self, what: &'static str) -> DecodeError {
        DecodeError { what, at: self.at }
    }

    #[inline]
    fn skip(&mut self, count: usize) -> Result<(), DecodeError> {
        match self.at.checked_add(count).filter(|at| *at <= self.body.len()) {
            Some(at) => self.at = at,
            None => return Err(self.error("field longer than its record")),
        }
        Ok(())
    }

    /// Skips bytes behind a varint length; false if they are null.
    #[inline]
    fn nullable(&mut self) -> Result<bool, DecodeError> {
        match usize::try_from(self.varint()?) {
            Ok(length) => self.skip(length).map(|()| true),
            Err(_) => Ok(false),
        }
    }

    /// Everything but the timestamp has 32 bits; readers refuse a longer form of a small number.
    #[inline]
    fn varint(&mut self) -> Result<i32, DecodeError> {
        if let Some(short) = self.short() {
            return Ok(short as i32);
        }
        let start = self.at;
        let value = i32::try_from(self.long()?).ok().filter(|_| self.at - start <= VARINT_BYTES);
        value.ok_or_else(|| self.error("variable-length integer exceeds 32 bits"))
    }

    #[inline]
    fn varlong(&mut self) -> Result<i64, DecodeError> {
        match self.short() {
            Some(short) => Ok(short),
            None => self.long(),
        }
    }

    /// Nearly all are of one or two bytes.
    #[inline(always)]
    fn short(&mut self) -> Option<i64> {
        let first = *self.body.get(self.at)?;
        let mut raw = i64::from(first & 0x7f);
        if first >= 0x80 {
            let second = *self.body.get(self.at + 1).filter(|byte| **byte < 0x80)?;
            raw |= i64::from(second) << 7;
            self.at += 1;
        }
        self.at += 1;
        Some((raw >> 1) ^ -(raw & 1))
    }

    fn long(&mut self) -> Result<i64, DecodeError> {
        let mut raw = 0u64;
        for shift in [0, 7, 14, 21, 28, 35, 42, 49, 56, 63] {
            let byte = *self.body.get(self.at).ok_or_else(|| self.error("record cut off"))?;
            self.at += 1;
            if shift == 63 && byte > 1 {
                break;
            }
            raw |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok((raw >> 1) as i64 ^ -((raw & 1) as i64));
            }
        }
        Err(self.error("variable-length integer exceeds 64 bits"))
    }
}

/// The most bytes that an integer of 32 bits takes.
const VARINT_BYTES: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::{raw, records};
    use crate::record::{BatchBuilder, BatchOptions, Record};

    /// Records of every kind of length, the payload some 400 KB.
    fn long(compression: Compression) -> Bytes {
        let mut builder = BatchBuilder::new(BatchOptions { compression, ..Default::default() });
        let bytes: Vec<u8> = (0..200_000u32).map(|n| (n.wrapping_mul(n) >> 7) as u8).collect();
        for index in 0..400i64 {
            let key = &bytes[..(index * 7 % 300) as usize];
            let value = &bytes[..if index == 200 { 200_000 } else { (index * 31 % 999) as usize }];
            let header = [("name", Some(&value[..value.len() / 9])), ("none", None)];
            builder.push(index * 100, (index % 5 > 0).then_some(key), Some(value), &header);
        }
        builder.build().unwrap()
    }

    fn codecs() -> impl Iterator<Item = Compression> {
        (0..5).map(|id| Compression::from_id(id).unwrap())
    }

    #[test]
    fn keys_alone_are_those_of_the_records() {
        for id in 0..5 {
            let mut builder = BatchBuilder::new(BatchOptions {
                compression: Compression::from_id(id).unwrap(),
                ..Default::default()
            });
            builder.push(5, Some(b"first"), Some(b"v"), &[("h", Some(&b"1"[..]))]);
            builder.push(4, None, None, &[]);
            builder.push_at(70_000, 6, Some(&[b'k'; 300]), None, &[]);
            builder.push(7, Some(b""), Some(&[0; 999]), &[]);
            let batch = builder.build().unwrap();
            let mut keys = Vec::new();
            visit_keys(&batch, 1 << 20, |key| keys.push(key.map(Bytes::copy_from_slice))).unwrap();
            let expected: Vec<_> = records(&batch).unwrap().into_iter().map(|r| r.key).collect();
            assert_eq!(keys, expected);
            // Whatever bytes there are, it ends, and a count that lies is told.
            for at in HEADER_BYTES..batch.len() {
                let mut damaged = batch.to_vec();
                damaged[at] ^= 0x55;
                let _ = visit_keys(&damaged.into(), 1 << 20, |_| {});
            }
            for count in [3, 5] {
                let mut lying = batch.to_vec();
                lying[HEADER_BYTES - 4..HEADER_BYTES].copy_from_slice(&i32::to_be_bytes(count));
                assert!(visit_keys(&lying.into(), 1 << 20, |_| {}).is_err(), "{count}");
            }
        }
    }

    #[test]
    fn records_across_the_borders_of_pieces_are_whole() {
        for codec in codecs() {
            let batch = long(codec);
            let some_lack_keys = Traits { keyed: false, named: true };
            assert_eq!(check_records(&batch, 1 << 20), Ok(some_lack_keys), "{codec:?}");
            let mut keys = Vec::new();
            visit_keys(&batch, 1 << 20, |key| keys.push(key.map(Bytes::copy_from_slice))).unwrap();
            let expected: Vec<_> = records(&batch).unwrap().into_iter().map(|r| r.key).collect();
            assert!(keys == expected, "{codec:?}");
        }
    }

    /// What the checks say of a payload that comes in pieces of `size`.
    fn in_pieces(count: i32, payload: &[u8], size: usize) -> Result<Traits, RecordError> {
        let mut traits = Traits { keyed: true, named: true };
        let visit = |index, body: &_| Walk { body, at: 0 }.check(index, &mut traits);
        let is_whole = size >= payload.len();
        let mut cutter = Cutter { count, index: 0, visit, is_whole, torn: Vec::new(), trailing: 0 };
        payload.chunks(size).try_for_each(|piece| cutter.piece(piece))?;
        cutter.finish()?;
        Ok(traits)
    }

    #[test]
    fn damage_is_seen_as_readers_see_it_whatever_the_pieces() {
        let mut builder = BatchBuilder::new(BatchOptions::default());
        builder.push(1, Some(b"key"), Some(&[7; 70]), &[("name", Some(&b"header"[..]))]);
        builder.push(90_000, None, Some(&[0xff; 150]), &[("a", None), ("b", Some(&b""[..]))]);
        builder.push(3, Some(b""), None, &[]);
        let good = builder.build().unwrap();
        let payload = &good[HEADER_BYTES..];
        let mut refused = 0;
        for at in 0..payload.len() {
            for bit in 0..8 {
                let mut bad = payload.to_vec();
                bad[at] ^= 1 << bit;
                let batch = raw(3, &bad);
                let read = records(&batch);
                let numbered = |read: &Vec<Record>| read.iter().map(|r| r.offset).eq(0..3);
                let name = matches!(&read, Err(RecordError::Malformed { source, .. })
                    if source.what == "header name is not UTF-8");
                let verdict = check_records(&batch, 1 << 20);
                if let Ok(traits) = &verdict {
                    assert_eq!(traits.named, !name, "{at} {bit}");
                }
                if !name {
                    assert_eq!(
                        verdict.is_ok(),
                        read.is_ok_and(|read| numbered(&read)),
                        "{at} {bit}"
                    );
                }
                refused += usize::from(verdict.is_err());
                for size in [1, 2, 3, 7, 64, 151, bad.len() - 1, bad.len()] {
                    assert_eq!(in_pieces(3, &bad, size), verdict, "{at} {bit} {size}");
                }
            }
        }
        assert!(refused > 100, "{refused}");
    }

    #[test]
    fn check_refuses_the_integers_that_readers_refuse() {
        // One record: attributes, timestamp delta, offset delta, key, value, header count.
        let plain = [12, 0, 0, 0, 1, 1, 0];
        assert!(check_records(&raw(1, &plain), 100).is_ok());
        // The offset delta as 0 in six bytes, then a timestamp delta of more than 64 bits.
        let padded = [22, 0, 0, 0x80, 0x80, 0x80, 0x80, 0x80, 0, 1, 1, 0];
        let mut long = vec![30, 0];
        long.extend([0x80; 9]);
        long.extend([2, 0, 1, 1, 0]);
        for payload in [&padded[..], &long] {
            let batch = raw(1, payload);
            assert!(records(&batch).is_err() && check_records(&batch, 100).is_err());
        }
    }
}
