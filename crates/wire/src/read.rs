//! Reading the protocol's primitive types from a received frame.
//!
//! A [`Reader`] walks a reference-counted frame; byte fields it returns are slices of that frame
//! and keep it alive, so whatever outlives a request must be copied by whoever keeps it.
//!
//! Invariants:
//! - I1: an array's length is checked against the bytes left before room is made for it.
//! - I2: the memory a decode may take is bounded by [`Reader::charge`]; an array of many tiny
//!   elements can't be blown up beyond a fixed factor of the frame.

use bytes::Bytes;

use crate::Uuid;

/// What was wrong with the bytes, and where in the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} at byte {at}")]
pub struct DecodeError {
    /// What was expected or violated.
    pub what: &'static str,
    /// Distance from the start of the frame, in bytes.
    pub at: usize,
}

/// The result of reading something.
pub type Result<T> = std::result::Result<T, DecodeError>;

/// A cursor over a frame.
#[derive(Clone, Debug)]
pub struct Reader {
    frame: Bytes,
    at: usize,
    budget: usize,
}

impl Reader {
    /// Starts at the first byte of `frame`.
    pub fn new(frame: Bytes) -> Self {
        // A String is 24 bytes and can be one byte on the wire; 32 covers that with room for the
        // allocation behind it. The constant lets small requests be as dense as they like.
        let budget = frame.len().saturating_mul(32).saturating_add(1 << 16);
        Self { frame, at: 0, budget }
    }

    /// Bytes not read yet.
    pub fn remaining(&self) -> usize {
        self.frame.len() - self.at
    }

    /// Position in the frame.
    pub fn position(&self) -> usize {
        self.at
    }

    /// An error at the current position.
    pub fn error(&self, what: &'static str) -> DecodeError {
        DecodeError { what, at: self.at }
    }

    /// Fails unless every byte was read.
    pub fn finish(&self) -> Result<()> {
        if self.remaining() == 0 { Ok(()) } else { Err(self.error("bytes left over")) }
    }

    /// Takes `bytes` from the memory this decode may still allocate.
    pub fn charge(&mut self, bytes: usize) -> Result<()> {
        match self.budget.checked_sub(bytes) {
            Some(left) => {
                self.budget = left;
                Ok(())
            }
            None => Err(self.error("more elements than the frame can carry")),
        }
    }

    /// The next `count` bytes as a slice of the frame.
    pub fn take(&mut self, count: usize) -> Result<Bytes> {
        if count > self.remaining() {
            return Err(self.error("frame too short"));
        }
        let slice = self.frame.slice(self.at..self.at + count);
        self.at += count;
        Ok(slice)
    }

    /// Every byte that is left.
    pub fn rest(&mut self) -> Bytes {
        let slice = self.frame.slice(self.at..);
        self.at = self.frame.len();
        slice
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        match self.frame.get(self.at..).and_then(|rest| rest.first_chunk::<N>()) {
            Some(chunk) => {
                self.at += N;
                Ok(*chunk)
            }
            None => Err(self.error("frame too short")),
        }
    }

    /// `bool`: one byte, any non-zero value is true.
    pub fn bool(&mut self) -> Result<bool> {
        Ok(self.array::<1>()? != [0])
    }

    /// `int8`.
    pub fn i8(&mut self) -> Result<i8> {
        Ok(i8::from_be_bytes(self.array()?))
    }

    /// `int16`, big-endian as all integers here.
    pub fn i16(&mut self) -> Result<i16> {
        Ok(i16::from_be_bytes(self.array()?))
    }

    /// `uint16`.
    pub fn u16(&mut self) -> Result<u16> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    /// `int32`.
    pub fn i32(&mut self) -> Result<i32> {
        Ok(i32::from_be_bytes(self.array()?))
    }

    /// `uint32`.
    pub fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    /// `int64`.
    pub fn i64(&mut self) -> Result<i64> {
        Ok(i64::from_be_bytes(self.array()?))
    }

    /// `float64`.
    pub fn f64(&mut self) -> Result<f64> {
        Ok(f64::from_be_bytes(self.array()?))
    }

    /// `uuid`.
    pub fn uuid(&mut self) -> Result<Uuid> {
        Ok(Uuid::from_bytes(self.array()?))
    }

    /// Unsigned LEB128 of at most 32 bits.
    pub fn uvarint(&mut self) -> Result<u32> {
        let mut value = 0u32;
        for shift in [0, 7, 14, 21, 28] {
            let [byte] = self.array::<1>()?;
            if shift == 28 && byte > 0x0f {
                break;
            }
            value |= u32::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(self.error("variable-length integer exceeds 32 bits"))
    }

    /// Zigzag LEB128 of at most 32 bits.
    pub fn varint(&mut self) -> Result<i32> {
        let raw = self.uvarint()?;
        Ok((raw >> 1) as i32 ^ -((raw & 1) as i32))
    }

    /// Zigzag LEB128 of at most 64 bits.
    pub fn varlong(&mut self) -> Result<i64> {
        let mut value = 0u64;
        for shift in [0, 7, 14, 21, 28, 35, 42, 49, 56, 63] {
            let [byte] = self.array::<1>()?;
            if shift == 63 && byte > 1 {
                break;
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok((value >> 1) as i64 ^ -((value & 1) as i64));
            }
        }
        Err(self.error("variable-length integer exceeds 64 bits"))
    }

    /// The length of a string (16-bit in the old encoding); `None` is null.
    fn string_len(&mut self, flexible: bool) -> Result<Option<usize>> {
        if flexible {
            return Ok((self.uvarint()? as usize).checked_sub(1));
        }
        match self.i16()? {
            -1 => Ok(None),
            length if length >= 0 => Ok(Some(length as usize)),
            _ => Err(self.error("negative string length")),
        }
    }

    /// The length of bytes or an array (32-bit in the old encoding); `None` is null.
    fn wide_len(&mut self, flexible: bool) -> Result<Option<usize>> {
        if flexible {
            return Ok((self.uvarint()? as usize).checked_sub(1));
        }
        match self.i32()? {
            -1 => Ok(None),
            length if length >= 0 => Ok(Some(length as usize)),
            _ => Err(self.error("negative length")),
        }
    }

    /// `string` or null.
    pub fn nullable_string(&mut self, flexible: bool) -> Result<Option<String>> {
        let Some(length) = self.string_len(flexible)? else { return Ok(None) };
        if length > i16::MAX as usize {
            return Err(self.error("string longer than 32767 bytes"));
        }
        let at = self.at;
        let bytes = self.take(length)?;
        match std::str::from_utf8(&bytes) {
            Ok(text) => Ok(Some(text.to_owned())),
            Err(_) => Err(DecodeError { what: "string is not UTF-8", at }),
        }
    }

    /// `string`.
    pub fn string(&mut self, flexible: bool) -> Result<String> {
        self.nullable_string(flexible)?.ok_or(self.error("null string where none is allowed"))
    }

    /// `bytes` or `records`, or null: a slice of the frame.
    pub fn nullable_bytes(&mut self, flexible: bool) -> Result<Option<Bytes>> {
        match self.wide_len(flexible)? {
            Some(length) => Ok(Some(self.take(length)?)),
            None => Ok(None),
        }
    }

    /// `bytes` or `records`: a slice of the frame.
    pub fn bytes(&mut self, flexible: bool) -> Result<Bytes> {
        self.nullable_bytes(flexible)?.ok_or(self.error("null bytes where none are allowed"))
    }

    /// The number of elements of an array whose elements take at least `element_wire` bytes here
    /// and `element_memory` bytes decoded; `None` is null.
    pub fn nullable_array_len(
        &mut self,
        flexible: bool,
        element_wire: usize,
        element_memory: usize,
    ) -> Result<Option<usize>> {
        let Some(count) = self.wide_len(flexible)? else { return Ok(None) };
        if count > self.remaining() / element_wire.max(1) {
            return Err(self.error("array longer than the frame"));
        }
        self.charge(count.saturating_mul(element_memory))?;
        Ok(Some(count))
    }

    /// As [`Self::nullable_array_len`], null refused.
    pub fn array_len(
        &mut self,
        flexible: bool,
        element_wire: usize,
        element_memory: usize,
    ) -> Result<usize> {
        self.nullable_array_len(flexible, element_wire, element_memory)?
            .ok_or(self.error("null array where none is allowed"))
    }

    /// The body of a tagged field whose length was just read: a reader of its own frame slice,
    /// sharing what is left of the budget.
    pub fn sub(&mut self, length: usize) -> Result<Self> {
        Ok(Self { frame: self.take(length)?, at: 0, budget: self.budget })
    }

    /// Gives back the budget after a [`Self::sub`] reader is done.
    pub fn absorb(&mut self, sub: &Self) {
        self.budget = sub.budget;
    }
}
