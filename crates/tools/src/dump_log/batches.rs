//! Reading a segment leniently: whatever Apache Kafka's own reader takes is taken, so that a
//! damaged file can be looked at up to the byte where it ends to make sense.
//!
//! Invariant I1: at most one batch is in memory, and of what it unpacks to at most
//! [`UNPACKED_BYTES_MAX`].

use std::fs::File;
use std::os::unix::fs::FileExt;

use wire::batch::{BatchHeader, HEADER_BYTES, LOG_OVERHEAD, PREFIX_BYTES, TimestampType};
use wire::{Bytes, Reader, batch};

/// A range of a segment file.
pub(super) struct Segment {
    file: File,
    start: u64,
    end: u64,
}

/// A batch as its first bytes describe it.
pub(super) struct Batch {
    /// Where it begins in the file.
    pub position: u64,
    /// The fields of format v2, from wherever they would be.
    pub header: BatchHeader,
    /// The whole batch in bytes.
    pub size: usize,
}

/// A record of any batch.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub offset: i64,
    pub timestamp: i64,
    /// -1 without an idempotent producer.
    pub sequence: i32,
    pub key: Option<Bytes>,
    pub value: Option<Bytes>,
    /// Names only.
    pub headers: Vec<Bytes>,
}

impl Segment {
    /// Opens a whole file.
    pub fn open(path: &str) -> Result<Self, String> {
        let file = File::open(path).map_err(|error| error.to_string())?;
        let end = file.metadata().map_err(|error| error.to_string())?.len();
        if end > i32::MAX as u64 {
            return Err(format!("{end} bytes are more than a segment can have"));
        }
        Ok(Self { file, start: 0, end })
    }

    /// At most `size` bytes from `position` on.
    pub fn slice(&self, position: i32, size: i32) -> Result<Self, String> {
        let from =
            u64::try_from(position).map_err(|_| format!("impossible position {position}"))?;
        let size = u64::try_from(size).map_err(|_| format!("impossible size {size}"))?;
        if from > self.size() {
            return Err(format!("position {position} is behind the end of the log"));
        }
        let file = self.file.try_clone().map_err(|error| error.to_string())?;
        let start = self.start + from;
        Ok(Self { file, start, end: self.end.min(start + size) })
    }

    /// Bytes of the range.
    pub fn size(&self) -> u64 {
        self.end - self.start
    }

    /// The batch `after` bytes into the range; `None` where no whole batch is left.
    pub fn batch(&self, after: u64) -> Result<Option<Batch>, String> {
        let position = self.start + after;
        if position + PREFIX_BYTES as u64 >= self.end {
            return Ok(None);
        }
        let prefix: [u8; PREFIX_BYTES] = self.read(position)?;
        let [.., a, b, c, d, _, _, _, _, magic] = prefix;
        let length = i32::from_be_bytes([a, b, c, d]);
        if length < LENGTH_MIN {
            return Err(format!("a batch of {length} bytes at position {position}"));
        }
        let size = length as usize + LOG_OVERHEAD;
        if position + size as u64 > self.end {
            return Ok(None);
        }
        if (magic as i8) < 2 {
            return Err(format!(
                "message format v{} at position {position}: only v2 and later can be read",
                magic as i8
            ));
        }
        // A header may reach beyond a batch that is too short for it, but not beyond the file.
        let header = parse(self.read::<HEADER_BYTES>(position)?);
        let header = header.ok_or("impossible header")?;
        Ok(Some(Batch { position, header, size }))
    }

    /// All bytes of a batch.
    pub fn whole(&self, batch: &Batch) -> Result<Bytes, String> {
        let mut bytes = vec![0; batch.size];
        self.file.read_exact_at(&mut bytes, batch.position).map_err(|error| error.to_string())?;
        Ok(bytes.into())
    }

    fn read<const N: usize>(&self, position: u64) -> Result<[u8; N], String> {
        let mut bytes = [0; N];
        let read = self.file.read_exact_at(&mut bytes, position);
        read.map_err(|_| format!("the file ends within a batch header at {position}"))?;
        Ok(bytes)
    }
}

/// The fields of a header, possible or not.
fn parse(bytes: [u8; HEADER_BYTES]) -> Option<BatchHeader> {
    let mut fields = Reader::new(Bytes::copy_from_slice(&bytes));
    Some(BatchHeader {
        base_offset: fields.i64().ok()?,
        length: fields.i32().ok()?,
        leader_epoch: fields.i32().ok()?,
        magic: fields.i8().ok()?,
        crc: fields.u32().ok()?,
        attributes: fields.i16().ok()?,
        last_offset_delta: fields.i32().ok()?,
        base_timestamp: fields.i64().ok()?,
        max_timestamp: fields.i64().ok()?,
        producer_id: fields.i64().ok()?,
        producer_epoch: fields.i16().ok()?,
        base_sequence: fields.i32().ok()?,
        count: fields.i32().ok()?,
    })
}

impl Batch {
    /// Offset of the last record; wraps as Java's arithmetic does.
    pub fn last_offset(&self) -> i64 {
        self.header.base_offset.wrapping_add(i64::from(self.header.last_offset_delta))
    }

    /// Sequence of the last record.
    pub fn last_sequence(&self) -> i32 {
        sequence(self.header.base_sequence, self.header.last_offset_delta)
    }

    /// True if the checksum is that of the bytes.
    pub fn is_valid(&self, whole: &Bytes) -> bool {
        whole.len() >= HEADER_BYTES
            && whole.get(batch::CRC_START..).map(wire::crc32c::of) == Some(self.header.crc)
    }

    /// The records, one after the other.
    pub fn records(&self, whole: &Bytes) -> Result<Records, String> {
        if whole.len() < HEADER_BYTES {
            return Err("a batch shorter than its header".into());
        }
        let header = self.header;
        if header.count < 0 {
            return Err(format!("a batch of {} records", header.count));
        }
        let codec = header.compression().ok_or("unknown compression")?;
        let payload = whole.slice(HEADER_BYTES..);
        // Of nothing there is nothing to unpack, and Apache Kafka does not try.
        let payload = match header.count {
            0 => Bytes::new(),
            _ => codec.decompress(&payload, UNPACKED_BYTES_MAX).map_err(|e| e.to_string())?,
        };
        let records = Records { header, payload: Reader::new(payload), read: 0 };
        if header.compression_id() != 0 {
            // Apache Kafka unpacks all of a batch before it shows any of it.
            let mut rehearsal = records.clone();
            while rehearsal.next()?.is_some() {}
        }
        Ok(records)
    }
}

/// The records of a batch.
#[derive(Clone)]
pub(super) struct Records {
    header: BatchHeader,
    payload: Reader,
    read: i32,
}

impl Records {
    /// The next record; `None` after the last.
    pub fn next(&mut self) -> Result<Option<Record>, String> {
        if self.read >= self.header.count {
            return Ok(None);
        }
        self.read += 1;
        let record = self.record().map_err(|error| format!("record {}: {error}", self.read))?;
        if self.read == self.header.count && self.payload.remaining() > 0 {
            return Err(format!("{} bytes after the last record", self.payload.remaining()));
        }
        Ok(Some(record))
    }

    fn record(&mut self) -> Result<Record, wire::DecodeError> {
        let size = self.payload.varint()?;
        let negative = self.payload.error("negative length");
        let body = self.payload.take(usize::try_from(size).map_err(|_| negative)?)?;
        let mut body = Reader::new(body);
        body.i8()?;
        let timestamp_delta = body.varlong()?;
        let offset_delta = body.varint()?;
        let key = nullable(&mut body)?;
        let value = nullable(&mut body)?;
        let count = body.varint()?;
        if usize::try_from(count).map_or(true, |count| count > body.remaining()) {
            return Err(body.error("impossible number of headers"));
        }
        if count > HEADERS_MAX {
            return Err(body.error("more headers than can be shown"));
        }
        let mut headers = Vec::new();
        for _ in 0..count {
            headers.push(nullable(&mut body)?.ok_or(body.error("header without a name"))?);
            nullable(&mut body)?;
        }
        body.finish()?;
        let header = &self.header;
        Ok(Record {
            offset: header.base_offset.wrapping_add(i64::from(offset_delta)),
            timestamp: match header.timestamp_type() {
                TimestampType::CreateTime => header.base_timestamp.wrapping_add(timestamp_delta),
                TimestampType::LogAppendTime => header.max_timestamp,
            },
            sequence: match header.base_sequence {
                ..0 => -1,
                base => sequence(base, offset_delta),
            },
            key,
            value,
            headers,
        })
    }
}

/// Headers of one record that are shown: each takes far more memory here than in the file.
const HEADERS_MAX: i32 = 1 << 20;

fn nullable(body: &mut Reader) -> Result<Option<Bytes>, wire::DecodeError> {
    match usize::try_from(body.varint()?) {
        Ok(length) => body.take(length).map(Some),
        Err(_) => Ok(None),
    }
}

/// `base` and `delta` records on, in Java's arithmetic where they are impossible.
fn sequence(base: i32, delta: i32) -> i32 {
    match base {
        -1 => -1,
        _ if base > i32::MAX.wrapping_sub(delta) => {
            delta.wrapping_sub(i32::MAX.wrapping_sub(base)).wrapping_sub(1)
        }
        _ => base.wrapping_add(delta),
    }
}

/// The smallest batch of any format.
const LENGTH_MIN: i32 = 14;
/// Records of one batch unpacked; more is damage or an attack.
const UNPACKED_BYTES_MAX: usize = 1 << 30;
