//! Producer snapshots (`<offset>.snapshot`): what a log knew of its idempotent producers at that
//! offset. Version 1: int16 version, CRC-32C of all that follows it, int32 count, entries.

use bytes::Bytes;

use super::FileError;
use crate::{DecodeError, Reader, Writer, crc32c};

/// A producer's last batch and open transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerEntry {
    /// Producer id.
    pub producer_id: i64,
    /// Its latest epoch.
    pub producer_epoch: i16,
    /// Sequence of the last record it wrote; -1 if none is known.
    pub last_sequence: i32,
    /// Offset of that record; -1 if none is known.
    pub last_offset: i64,
    /// That batch's last offset minus its first.
    pub offset_delta: i32,
    /// Timestamp of its last write, in milliseconds.
    pub timestamp: i64,
    /// Epoch of the coordinator that wrote its last marker; -1 without one.
    pub coordinator_epoch: i32,
    /// First offset of its open transaction; -1 without one.
    pub current_txn_first_offset: i64,
}

/// Reads a snapshot.
///
/// # Errors
/// Another version, a wrong checksum or count.
pub fn parse_producers(content: &Bytes) -> Result<Vec<ProducerEntry>, FileError> {
    let mut reader = Reader::new(content.clone());
    let version = reader.i16().map_err(named)?;
    if version != VERSION {
        return Err(FileError::Byte { at: 0, what: "unknown version of a producer snapshot" });
    }
    let stored = reader.u32().map_err(named)?;
    let computed = crc32c::of(content.get(CRC_START..).unwrap_or_default());
    if stored != computed {
        return Err(FileError::Crc { stored, computed });
    }
    let count = reader.array_len(false, ENTRY_BYTES, size_of::<ProducerEntry>()).map_err(named)?;
    let mut entries = Vec::with_capacity(count);
    for _ in 0..count {
        entries.push(entry(&mut reader).map_err(named)?);
    }
    reader.finish().map_err(named)?;
    Ok(entries)
}

/// The bytes of a snapshot.
pub fn render_producers<'a>(entries: impl IntoIterator<Item = &'a ProducerEntry>) -> Bytes {
    let mut body = Writer::new();
    let mut count = 0;
    for entry in entries {
        count += 1;
        body.i64(entry.producer_id);
        body.i16(entry.producer_epoch);
        body.i32(entry.last_sequence);
        body.i64(entry.last_offset);
        body.i32(entry.offset_delta);
        body.i64(entry.timestamp);
        body.i32(entry.coordinator_epoch);
        body.i64(entry.current_txn_first_offset);
    }
    let body = body.finish().to_bytes();
    let count = i32::to_be_bytes(count);
    let mut out = Writer::with_capacity(CRC_START + count.len() + body.len());
    out.i16(VERSION);
    out.u32(crc32c::of_parts(&[&count, &body]));
    out.raw(&count);
    out.raw(&body);
    out.finish().to_bytes()
}

fn entry(reader: &mut Reader) -> Result<ProducerEntry, DecodeError> {
    Ok(ProducerEntry {
        producer_id: reader.i64()?,
        producer_epoch: reader.i16()?,
        last_sequence: reader.i32()?,
        last_offset: reader.i64()?,
        offset_delta: reader.i32()?,
        timestamp: reader.i64()?,
        coordinator_epoch: reader.i32()?,
        current_txn_first_offset: reader.i64()?,
    })
}

fn named(error: DecodeError) -> FileError {
    FileError::Byte { at: error.at, what: error.what }
}

const VERSION: i16 = 1;
const CRC_START: usize = 6;
const ENTRY_BYTES: usize = 46;

#[cfg(test)]
mod tests {
    use super::*;

    /// Written by Apache Kafka 4.4.0 for one producer that wrote one record.
    const GOLDEN: &str = "0001252da9190000000100000000000000000000000000000000000000000000\
                          00000000000001a1fd2765bdffffffffffffffffffffffff";

    fn golden() -> Bytes {
        let digits = GOLDEN.as_bytes();
        let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16);
        digits.chunks(2).map(|pair| byte(pair).unwrap()).collect()
    }

    #[test]
    fn a_snapshot_of_apache_kafka_parses_and_renders_to_the_same_bytes() {
        let entries = parse_producers(&golden()).unwrap();
        assert_eq!(entries.len(), 1);
        assert_eq!((entries[0].last_sequence, entries[0].coordinator_epoch), (0, -1));
        assert_eq!(entries[0].current_txn_first_offset, -1);
        assert_eq!(render_producers(&entries), golden());
        assert_eq!(render_producers([]).len(), 10);
    }

    #[test]
    fn damage_is_refused_wherever_it_is() {
        let good = golden();
        for at in 0..good.len() {
            let mut bad = good.to_vec();
            bad[at] ^= 0x10;
            assert!(parse_producers(&bad.into()).is_err(), "byte {at}");
            assert!(parse_producers(&good.slice(..at)).is_err(), "cut at {at}");
        }
        // A right checksum around a count of 2^31-1.
        let count = i32::MAX.to_be_bytes();
        let mut lie = vec![0, 1];
        lie.extend_from_slice(&crc32c::of(&count).to_be_bytes());
        lie.extend_from_slice(&count);
        assert!(parse_producers(&lie.into()).is_err());
    }
}
