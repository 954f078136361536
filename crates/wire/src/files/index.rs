//! Entries of `.index`, `.timeindex` and `.txnindex` files.
//!
//! Index files may end in zeros: Apache Kafka preallocates them while a segment is active, and
//! some survive a clean stop at full size. The first entry that does not rise ends the content.

use super::FileError;

/// An entry of an offset index: where a batch starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OffsetIndexEntry {
    /// Last offset of the batch, relative to the segment's base offset.
    pub relative_offset: u32,
    /// Byte of the segment file at which that batch starts.
    pub position: u32,
}

impl OffsetIndexEntry {
    /// Bytes of an entry.
    pub const BYTES: usize = 8;

    /// The entry as written.
    pub fn to_bytes(self) -> [u8; 8] {
        (u64::from(self.relative_offset) << 32 | u64::from(self.position)).to_be_bytes()
    }

    /// Reads a file up to its zero tail; a partial last entry is ignored.
    ///
    /// # Errors
    /// Entries that fall, other than by a tail of zeros.
    pub fn parse_file(content: &[u8]) -> Result<Vec<Self>, FileError> {
        let (chunks, _) = content.as_chunks::<8>();
        let entries = chunks.iter().map(|chunk| {
            let raw = u64::from_be_bytes(*chunk);
            Self { relative_offset: (raw >> 32) as u32, position: raw as u32 }
        });
        let zero = Self { relative_offset: 0, position: 0 };
        rising(entries, Self::BYTES, zero, |before, entry| {
            entry.relative_offset > before.relative_offset && entry.position > before.position
        })
    }
}

/// An entry of a time index: up to that offset no record is later than that timestamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeIndexEntry {
    /// The largest timestamp so far, in milliseconds.
    pub timestamp: i64,
    /// The offset that has it, relative to the segment's base offset.
    pub relative_offset: u32,
}

impl TimeIndexEntry {
    /// Bytes of an entry.
    pub const BYTES: usize = 12;

    /// The entry as written.
    pub fn to_bytes(self) -> [u8; 12] {
        let wide = (self.timestamp as u128) << 32 | u128::from(self.relative_offset);
        let mut out = [0; 12];
        for (place, byte) in out.iter_mut().zip(wide.to_be_bytes().into_iter().skip(4)) {
            *place = byte;
        }
        out
    }

    /// Reads a file up to its zero tail; a partial last entry is ignored.
    ///
    /// # Errors
    /// Entries that fall, other than by a tail of zeros.
    pub fn parse_file(content: &[u8]) -> Result<Vec<Self>, FileError> {
        let (chunks, _) = content.as_chunks::<12>();
        let entries = chunks.iter().map(|chunk| {
            let wide = chunk.iter().fold(0u128, |wide, byte| wide << 8 | u128::from(*byte));
            Self { timestamp: (wide >> 32) as i64, relative_offset: wide as u32 }
        });
        let zero = Self { timestamp: 0, relative_offset: 0 };
        rising(entries, Self::BYTES, zero, |before, entry| {
            entry.timestamp >= before.timestamp && entry.relative_offset >= before.relative_offset
        })
    }
}

/// An entry of a transaction index: an aborted transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AbortedTxn {
    /// The producer that aborted.
    pub producer_id: i64,
    /// Its transaction's first offset.
    pub first_offset: i64,
    /// Offset of the ABORT marker.
    pub last_offset: i64,
    /// The last stable offset when the marker was written.
    pub last_stable_offset: i64,
}

impl AbortedTxn {
    /// Bytes of an entry of version 0.
    pub const BYTES: usize = 34;

    /// The entry as written.
    pub fn to_bytes(self) -> [u8; 34] {
        let mut out = [0; 34];
        let fields =
            [self.producer_id, self.first_offset, self.last_offset, self.last_stable_offset];
        let bytes = fields.into_iter().flat_map(i64::to_be_bytes);
        for (place, byte) in out.iter_mut().skip(2).zip(bytes) {
            *place = byte;
        }
        out
    }

    /// Reads a whole file.
    ///
    /// # Errors
    /// A partial entry or another version.
    pub fn parse_file(content: &[u8]) -> Result<Vec<Self>, FileError> {
        let (chunks, rest) = content.as_chunks::<34>();
        if !rest.is_empty() {
            let at = content.len() - rest.len();
            return Err(FileError::Byte { at, what: "partial entry of a transaction index" });
        }
        let mut entries = Vec::with_capacity(chunks.len());
        for (index, chunk) in chunks.iter().enumerate() {
            let Some((version, fields)) = chunk.split_first_chunk::<2>() else { continue };
            if *version != [0, 0] {
                let what = "transaction index entry of an unknown version";
                return Err(FileError::Byte { at: index * Self::BYTES, what });
            }
            let mut fields = fields.as_chunks::<8>().0.iter().map(|raw| i64::from_be_bytes(*raw));
            let mut next = || fields.next().unwrap_or_default();
            entries.push(Self {
                producer_id: next(),
                first_offset: next(),
                last_offset: next(),
                last_stable_offset: next(),
            });
        }
        Ok(entries)
    }
}

/// The entries up to the zero tail, which must be all zeros.
fn rising<T: Copy + PartialEq>(
    entries: impl Iterator<Item = T>,
    entry_bytes: usize,
    zero: T,
    rises: impl Fn(&T, &T) -> bool,
) -> Result<Vec<T>, FileError> {
    let mut out: Vec<T> = Vec::new();
    let mut ended = false;
    for (index, entry) in entries.enumerate() {
        let good = match out.last() {
            // Also at the start: an index of nothing but zeros is an empty one. A real first
            // entry of all zeros says what an empty index says.
            _ if entry == zero => {
                ended = true;
                true
            }
            _ if ended => false,
            Some(before) => rises(before, &entry),
            None => true,
        };
        if !good {
            let at = index * entry_bytes;
            return Err(FileError::Byte { at, what: "index entry does not rise" });
        }
        if !ended {
            out.push(entry);
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offset_entries_round_trip_and_stop_at_the_preallocated_tail() {
        let entries = [
            OffsetIndexEntry { relative_offset: 9, position: 4096 },
            OffsetIndexEntry { relative_offset: 70_000, position: 1 << 20 },
        ];
        let mut file: Vec<u8> = entries.iter().flat_map(|entry| entry.to_bytes()).collect();
        assert_eq!(file[..8], [0, 0, 0, 9, 0, 0, 16, 0]);
        file.resize(10 * 1024, 0);
        assert_eq!(OffsetIndexEntry::parse_file(&file).unwrap(), entries);
        file[800] = 1;
        assert!(OffsetIndexEntry::parse_file(&file).is_err());
        assert_eq!(OffsetIndexEntry::parse_file(&[0; 4096]).unwrap(), []);
    }

    #[test]
    fn time_entries_round_trip_and_must_not_fall() {
        let late = TimeIndexEntry { timestamp: 0x01a1_fd27_65bd, relative_offset: 3 };
        let bytes = late.to_bytes();
        assert_eq!(bytes, [0, 0, 1, 0xa1, 0xfd, 0x27, 0x65, 0xbd, 0, 0, 0, 3]);
        assert_eq!(TimeIndexEntry::parse_file(&bytes).unwrap(), [late]);
        let early = TimeIndexEntry { timestamp: 5, relative_offset: 4 };
        let file = [bytes, early.to_bytes()].concat();
        assert!(TimeIndexEntry::parse_file(&file).is_err());
    }

    #[test]
    fn aborted_transactions_round_trip_and_partial_entries_are_refused() {
        let entry =
            AbortedTxn { producer_id: 1, first_offset: 2, last_offset: 30, last_stable_offset: 31 };
        let file = [entry.to_bytes(), entry.to_bytes()].concat();
        assert_eq!(AbortedTxn::parse_file(&file).unwrap(), [entry, entry]);
        assert!(AbortedTxn::parse_file(&file[..40]).is_err());
        let mut other = file;
        other[35] = 1;
        let error = AbortedTxn::parse_file(&other).unwrap_err();
        assert!(matches!(error, FileError::Byte { at: 34, .. }), "{error}");
    }
}
