//! Writing the protocol's primitive types into a reply or request frame.
//!
//! A [`Writer`] fills one buffer; large byte fields are spliced in as reference-counted parts
//! instead of being copied, and [`Writer::finish`] hands out the parts in order.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::Uuid;

/// A value that the chosen version of a message can't carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("version {version} can't carry {field}")]
pub struct EncodeError {
    /// The field, as `Message.field`.
    pub field: &'static str,
    /// The message version asked for.
    pub version: i16,
}

/// The result of writing something.
pub type Result<T> = std::result::Result<T, EncodeError>;

/// An encoded frame: the parts, in order, make up its bytes, together with what belongs into gaps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frame {
    /// Never empty parts.
    pub parts: Vec<Bytes>,
    /// Where whoever sends the frame puts records from elsewhere, in order; see
    /// [`Writer::leave_gaps`].
    pub gaps: Vec<Gap>,
}

/// Bytes that belong into a frame and are not there yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// How many of the frame's parts come before it.
    pub after: usize,
    /// How many bytes it has.
    pub len: usize,
}

impl From<Vec<Bytes>> for Frame {
    fn from(parts: Vec<Bytes>) -> Self {
        Self { parts, gaps: Vec::new() }
    }
}

impl Frame {
    /// Total length in bytes.
    pub fn len(&self) -> usize {
        let gaps: usize = self.gaps.iter().map(|gap| gap.len).sum();
        self.parts.iter().map(Bytes::len).sum::<usize>() + gaps
    }

    /// True if there is no byte at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Puts these bytes into the gaps, one into each, in order.
    pub fn fill(&mut self, content: Vec<Bytes>) {
        for (index, (gap, bytes)) in self.gaps.drain(..).zip(content).enumerate() {
            self.parts.insert((gap.after + index).min(self.parts.len()), bytes);
        }
    }

    /// All bytes in one buffer but those of gaps, copied unless there is just one part.
    pub fn to_bytes(&self) -> Bytes {
        match self.parts.as_slice() {
            [only] => only.clone(),
            parts => parts.concat().into(),
        }
    }
}

/// Collects a frame.
#[derive(Clone, Debug, Default)]
pub struct Writer {
    buffer: Vec<u8>,
    /// Parts that belong before the buffer's byte of that index, in rising order.
    spliced: Vec<(usize, Spliced)>,
    spliced_bytes: usize,
    /// Lengths of gaps to come.
    gaps: VecDeque<usize>,
}

#[derive(Clone, Debug)]
enum Spliced {
    Part(Bytes),
    Gap(usize),
}

impl Writer {
    /// An empty frame.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty frame with room for `bytes`.
    pub fn with_capacity(bytes: usize) -> Self {
        Self { buffer: Vec::with_capacity(bytes), ..Self::default() }
    }

    /// Bytes written so far, spliced ones included.
    pub fn len(&self) -> usize {
        self.buffer.len() + self.spliced_bytes
    }

    /// True if nothing was written.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Ends the frame.
    pub fn finish(self) -> Frame {
        let whole = Bytes::from(self.buffer);
        if self.spliced.is_empty() {
            let parts = if whole.is_empty() { Vec::new() } else { vec![whole] };
            return Frame { parts, gaps: Vec::new() };
        }
        let mut gaps = Vec::new();
        let mut parts = Vec::with_capacity(2 * self.spliced.len() + 1);
        let mut from = 0;
        for (at, spliced) in self.spliced {
            if at > from {
                parts.push(whole.slice(from..at));
            }
            from = at;
            match spliced {
                Spliced::Part(part) => parts.push(part),
                Spliced::Gap(len) => gaps.push(Gap { after: parts.len(), len }),
            }
        }
        if from < whole.len() {
            parts.push(whole.slice(from..));
        }
        Frame { parts, gaps }
    }

    /// Overwrites the first four bytes with the length of what follows them: the size prefix of
    /// the TCP protocol, for which [`Self::i32`] made room.
    pub fn patch_size(&mut self) {
        let size = (self.len().saturating_sub(4)) as u32;
        if let Some(head) = self.buffer.first_chunk_mut::<4>() {
            *head = size.to_be_bytes();
        }
    }

    /// Raw bytes, copied.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Raw bytes, shared when that is cheaper than copying.
    pub fn shared(&mut self, bytes: &Bytes) {
        if bytes.len() < SPLICE_MIN {
            self.raw(bytes);
        } else {
            self.spliced_bytes += bytes.len();
            self.spliced.push((self.buffer.len(), Spliced::Part(bytes.clone())));
        }
    }

    /// `bool`.
    pub fn bool(&mut self, value: bool) {
        self.buffer.push(u8::from(value));
    }

    /// `int8`.
    pub fn i8(&mut self, value: i8) {
        self.raw(&value.to_be_bytes());
    }

    /// `int16`.
    pub fn i16(&mut self, value: i16) {
        self.raw(&value.to_be_bytes());
    }

    /// `uint16`.
    pub fn u16(&mut self, value: u16) {
        self.raw(&value.to_be_bytes());
    }

    /// `int32`.
    pub fn i32(&mut self, value: i32) {
        self.raw(&value.to_be_bytes());
    }

    /// `uint32`.
    pub fn u32(&mut self, value: u32) {
        self.raw(&value.to_be_bytes());
    }

    /// `int64`.
    pub fn i64(&mut self, value: i64) {
        self.raw(&value.to_be_bytes());
    }

    /// `float64`.
    pub fn f64(&mut self, value: f64) {
        self.raw(&value.to_be_bytes());
    }

    /// `uuid`.
    pub fn uuid(&mut self, value: Uuid) {
        self.raw(&value.to_bytes());
    }

    /// Unsigned LEB128.
    pub fn uvarint(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.buffer.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.buffer.push(value as u8);
    }

    /// Zigzag LEB128 of 32 bits.
    pub fn varint(&mut self, value: i32) {
        self.uvarint(((value << 1) ^ (value >> 31)) as u32);
    }

    /// Zigzag LEB128 of 64 bits.
    pub fn varlong(&mut self, value: i64) {
        let mut raw = ((value << 1) ^ (value >> 63)) as u64;
        while raw >= 0x80 {
            self.buffer.push(raw as u8 | 0x80);
            raw >>= 7;
        }
        self.buffer.push(raw as u8);
    }

    /// A string's length, then its bytes.
    ///
    /// # Errors
    /// A string over 32767 bytes: no version can carry it.
    pub fn string(&mut self, flexible: bool, value: &str, field: &'static str) -> Result<()> {
        if value.len() > i16::MAX as usize {
            return Err(EncodeError { field, version: -1 });
        }
        if flexible {
            self.uvarint(value.len() as u32 + 1);
        } else {
            self.i16(value.len() as i16);
        }
        self.raw(value.as_bytes());
        Ok(())
    }

    /// Null in place of a string.
    pub fn null_string(&mut self, flexible: bool) {
        if flexible { self.uvarint(0) } else { self.i16(-1) }
    }

    /// The length of an array or of bytes.
    pub fn wide_len(&mut self, flexible: bool, length: usize) {
        if flexible { self.uvarint(length as u32 + 1) } else { self.i32(length as i32) }
    }

    /// Null in place of an array or of bytes.
    pub fn null_wide(&mut self, flexible: bool) {
        if flexible { self.uvarint(0) } else { self.i32(-1) }
    }

    /// The `records` to be written take these lengths, one each in the order in which they are
    /// written, if that is not zero: their bytes stay a gap of the frame. So records come from a
    /// file to a socket without being held in memory.
    pub fn leave_gaps(&mut self, lengths: impl IntoIterator<Item = usize>) {
        self.gaps.extend(lengths);
    }

    /// `records`: the bytes given, or a gap that was asked for.
    pub fn records(&mut self, flexible: bool, value: &Bytes) {
        match self.gaps.pop_front() {
            None | Some(0) => self.bytes(flexible, value),
            Some(len) => {
                self.wide_len(flexible, len);
                self.spliced_bytes += len;
                self.spliced.push((self.buffer.len(), Spliced::Gap(len)));
            }
        }
    }

    /// `bytes`.
    pub fn bytes(&mut self, flexible: bool, value: &Bytes) {
        self.wide_len(flexible, value.len());
        self.shared(value);
    }

    /// One tagged field (KIP-482): its tag, its length, and what `body` writes.
    ///
    /// # Errors
    /// Those of `body`.
    pub fn tagged(
        &mut self,
        tag: u32,
        body: &mut dyn FnMut(&mut Self) -> Result<()>,
    ) -> Result<()> {
        let mut inner = Self::new();
        body(&mut inner)?;
        self.uvarint(tag);
        self.uvarint(inner.len() as u32);
        for part in inner.finish().parts {
            self.shared(&part);
        }
        Ok(())
    }
}

/// Below this, copying beats a part of its own in the vectored write.
const SPLICE_MIN: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Reader;

    #[test]
    fn integers_of_variable_length_round_trip_at_every_boundary() {
        let mut values = vec![0i64, -1, 1, i64::MAX, i64::MIN];
        for shift in 0..63 {
            values.extend([1i64 << shift, (1i64 << shift) - 1, -(1i64 << shift)]);
        }
        for value in values {
            let mut writer = Writer::new();
            writer.varlong(value);
            writer.varint(value as i32);
            writer.uvarint(value as u32);
            let mut reader = Reader::new(writer.finish().to_bytes());
            assert_eq!(reader.varlong(), Ok(value));
            assert_eq!(reader.varint(), Ok(value as i32));
            assert_eq!(reader.uvarint(), Ok(value as u32));
            assert_eq!(reader.finish(), Ok(()));
        }
    }

    #[test]
    fn overlong_integers_and_lengths_are_refused() {
        let endless = Bytes::from_static(&[0xff; 11]);
        assert!(Reader::new(endless.clone()).uvarint().is_err());
        assert!(Reader::new(endless).varlong().is_err());
        // An array of 2^31-1 in six bytes.
        let hostile = Bytes::from_static(&[0x7f, 0xff, 0xff, 0xff, 0, 0]);
        assert!(Reader::new(hostile).array_len(false, 1, 24).is_err());
    }

    #[test]
    fn gaps_count_and_are_filled_where_they_were_left() {
        let whole = |filled: bool| {
            let mut writer = Writer::new();
            writer.i32(0);
            let records = [&b"ab"[..], b"", b"cde"].map(Bytes::from_static);
            if filled {
                writer.leave_gaps([2, 0, 3]);
            }
            for bytes in &records {
                writer.records(true, if filled { &records[1] } else { bytes });
                writer.i8(9);
            }
            writer.patch_size();
            let mut frame = writer.finish();
            let len = frame.len();
            if filled {
                assert_eq!(frame.gaps.iter().map(|gap| gap.len).collect::<Vec<_>>(), [2, 3]);
                frame.fill(vec![records[0].clone(), records[2].clone()]);
            }
            assert_eq!(frame.len(), len);
            frame.to_bytes()
        };
        assert_eq!(whole(true), whole(false));
    }

    #[test]
    fn large_bytes_are_spliced_in_order_and_counted_in_the_size() {
        let large = Bytes::from(vec![7u8; SPLICE_MIN]);
        let mut writer = Writer::new();
        writer.i32(0);
        writer.bytes(false, &large);
        writer.i8(9);
        writer.patch_size();
        let frame = writer.finish();
        assert_eq!(frame.parts.len(), 3);
        let mut reader = Reader::new(frame.to_bytes());
        assert_eq!(reader.i32(), Ok(frame.len() as i32 - 4));
        assert_eq!(reader.bytes(false), Ok(large));
        assert_eq!(reader.i8(), Ok(9));
    }
}
