//! Records inside a batch: reading them strictly, building batches, and control records.
//!
//! Owns the encoding of a record of format v2. Key, value and header bytes handed out are slices
//! of the decompressed payload.
//!
//! Invariants:
//! - I1: a record uses exactly the length it declares, and a batch holds exactly the records it
//!   counts; anything else is an error.
//! - I2: headers keep their order and repeated names.

use bytes::Bytes;

use crate::batch::{
    self, ATTRIBUTE_CONTROL, ATTRIBUTE_DELETE_HORIZON, ATTRIBUTE_LOG_APPEND_TIME,
    ATTRIBUTE_TRANSACTIONAL, BatchError, BatchHeader, HEADER_BYTES, LOG_OVERHEAD, SIZE_MAX,
    TimestampType,
};
use crate::compress::{CompressError, Compression};
use crate::{DecodeError, Reader, Writer};

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its offset in the partition.
    pub offset: i64,
    /// Milliseconds since 1970; -1 is none.
    pub timestamp: i64,
    /// The key, if any.
    pub key: Option<Bytes>,
    /// The value; none is a tombstone.
    pub value: Option<Bytes>,
    /// Names (UTF-8) and values, in order, names possibly repeated.
    pub headers: Vec<(Bytes, Option<Bytes>)>,
}

/// Why the records of a batch can't be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The batch around them.
    #[error(transparent)]
    Batch(#[from] BatchError),
    /// Codec number without a meaning.
    #[error("unknown compression codec {0}")]
    UnknownCodec(u8),
    /// The payload can't be opened.
    #[error(transparent)]
    Compress(#[from] CompressError),
    /// A record is malformed.
    #[error("record {index} of the batch: {source}")]
    Malformed {
        /// Which record, from 0.
        index: i32,
        /// What is wrong, and where in the payload or record.
        source: DecodeError,
    },
    /// More bytes follow the last record.
    #[error("{0} bytes after the last record of the batch")]
    TrailingBytes(usize),
    /// A batch no format can hold.
    #[error("batch of {0} bytes exceeds the format")]
    TooLarge(usize),
}

/// Reads the records of one batch in order; ends after the first error.
#[derive(Clone, Debug)]
pub struct RecordIter {
    header: BatchHeader,
    payload: Reader,
    index: i32,
    done: bool,
}

impl RecordIter {
    /// Opens `batch` (one whole batch), decompressing at most `limit` bytes.
    ///
    /// # Errors
    /// The header, the codec, or the size of the payload.
    pub fn open(batch: &Bytes, limit: usize) -> Result<Self, RecordError> {
        let header = BatchHeader::parse(batch)?;
        let size = header.size_in_bytes();
        if batch.len() < size {
            return Err(BatchError::Truncated { needed: size, have: batch.len() }.into());
        }
        let codec =
            header.compression().ok_or(RecordError::UnknownCodec(header.compression_id()))?;
        let payload = codec.decompress(&batch.slice(HEADER_BYTES..size), limit)?;
        Ok(Self::new(header, payload))
    }

    /// Reads `payload`, already decompressed, of the batch with that header.
    pub fn new(header: BatchHeader, payload: Bytes) -> Self {
        Self { header, payload: Reader::new(payload), index: 0, done: false }
    }

    fn record(&mut self) -> Result<Record, DecodeError> {
        let length = self.payload.varint()?;
        let length = usize::try_from(length).map_err(|_| self.payload.error("negative length"))?;
        let mut body = Reader::new(self.payload.take(length)?);
        let _attributes = body.i8()?;
        let timestamp_delta = body.varlong()?;
        let offset_delta = body.varint()?;
        let overflow = body.error("offset out of range");
        let offset = self.header.base_offset.checked_add(i64::from(offset_delta));
        let timestamp = match self.header.timestamp_type() {
            // Round the end, as in Java: brokers take such batches, so they must be readable.
            TimestampType::CreateTime => self.header.base_timestamp.wrapping_add(timestamp_delta),
            TimestampType::LogAppendTime => self.header.max_timestamp,
        };
        let key = nullable(&mut body)?;
        let value = nullable(&mut body)?;
        let count = body.varint()?;
        // A header takes two bytes at least, so a count beyond the bytes left is a lie; checking
        // it here keeps the error near its cause.
        if usize::try_from(count).map_or(true, |count| count > body.remaining() / 2) {
            return Err(body.error("impossible header count"));
        }
        let mut headers = Vec::new();
        for _ in 0..count {
            let name = nullable(&mut body)?.ok_or(body.error("null header name"))?;
            if std::str::from_utf8(&name).is_err() {
                return Err(body.error("header name is not UTF-8"));
            }
            headers.push((name, nullable(&mut body)?));
        }
        body.finish()?;
        Ok(Record { offset: offset.ok_or(overflow)?, timestamp, key, value, headers })
    }
}

impl Iterator for RecordIter {
    type Item = Result<Record, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        if self.index >= self.header.count {
            self.done = true;
            let left = self.payload.remaining();
            return (left > 0).then_some(Err(RecordError::TrailingBytes(left)));
        }
        let index = self.index;
        self.index += 1;
        let record = self.record().map_err(|source| RecordError::Malformed { index, source });
        self.done = record.is_err();
        Some(record)
    }
}

/// Bytes behind a varint length, -1 (or any negative, as Java's reader has it) being null.
fn nullable(body: &mut Reader) -> Result<Option<Bytes>, DecodeError> {
    match usize::try_from(body.varint()?) {
        Ok(length) => Ok(Some(body.take(length)?)),
        Err(_) => Ok(None),
    }
}

/// Who writes a batch, for idempotence and transactions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerStamp {
    /// Producer id.
    pub id: i64,
    /// Its epoch.
    pub epoch: i16,
    /// Sequence number of the batch's first record; -1 on control batches.
    pub base_sequence: i32,
}

/// What a batch is built with.
#[derive(Clone, Debug, Default)]
pub struct BatchOptions {
    /// Offset of the first record pushed without one of its own.
    pub base_offset: i64,
    /// Leader epoch to write; -1 is what a producer sends.
    pub leader_epoch: i32,
    /// Codec.
    pub compression: Compression,
    /// Its level.
    pub level: Option<i32>,
    /// Whose clock; for [`TimestampType::LogAppendTime`] all records get `log_append_time_ms`.
    pub timestamp_type: TimestampType,
    /// The leader's time when it stamps the batch.
    pub log_append_time_ms: i64,
    /// The producer, if idempotent.
    pub producer: Option<ProducerStamp>,
    /// Part of a transaction.
    pub transactional: bool,
    /// A control batch.
    pub control: bool,
    /// When its tombstones or markers may go, in milliseconds since 1970 (KIP-534); takes the place
    /// of the base timestamp.
    pub delete_horizon_ms: Option<i64>,
    /// The batch's last offset, if compaction removed the record that had it.
    pub last_offset: Option<i64>,
}

/// Builds one batch from records.
#[derive(Clone, Debug)]
pub struct BatchBuilder {
    options: BatchOptions,
    payload: Writer,
    next_offset: i64,
    base_timestamp: Option<i64>,
    max_timestamp: i64,
    count: i32,
}

impl BatchBuilder {
    /// An empty batch.
    pub fn new(options: BatchOptions) -> Self {
        Self {
            next_offset: options.base_offset,
            base_timestamp: options.delete_horizon_ms,
            options,
            payload: Writer::new(),
            max_timestamp: -1,
            count: 0,
        }
    }

    /// Adds a record at the next offset.
    pub fn push(
        &mut self,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(&str, Option<&[u8]>)],
    ) {
        self.push_at(self.next_offset, timestamp, key, value, headers);
    }

    /// Adds a record at `offset`, which is not below any before it: compaction leaves gaps.
    pub fn push_at(
        &mut self,
        offset: i64,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(&str, Option<&[u8]>)],
    ) {
        let base_timestamp = *self.base_timestamp.get_or_insert(timestamp);
        let mut body = Writer::with_capacity(24 + key.map_or(0, <[u8]>::len));
        body.i8(0);
        body.varlong(timestamp.wrapping_sub(base_timestamp));
        body.varint((offset - self.options.base_offset) as i32);
        write_nullable(&mut body, key);
        write_nullable(&mut body, value);
        body.varint(headers.len() as i32);
        for (name, value) in headers {
            write_nullable(&mut body, Some(name.as_bytes()));
            write_nullable(&mut body, *value);
        }
        self.payload.varint(body.len() as i32);
        for part in body.finish().parts {
            self.payload.raw(&part);
        }
        self.max_timestamp = self.max_timestamp.max(timestamp);
        self.next_offset = offset + 1;
        self.count += 1;
    }

    /// Adds a control record: `kind` in the key, `value` in the layout of that kind.
    pub fn push_control(&mut self, timestamp: i64, kind: ControlKind, value: &[u8]) {
        self.push(timestamp, Some(&kind.key()), Some(value), &[]);
    }

    /// Records so far.
    pub fn count(&self) -> i32 {
        self.count
    }

    /// Bytes of the batch so far, were it not compressed.
    pub fn size_in_bytes(&self) -> usize {
        HEADER_BYTES + self.payload.len()
    }

    /// The batch.
    ///
    /// # Errors
    /// The codec refuses the level, or the batch exceeds what its length field can say.
    pub fn build(self) -> Result<Bytes, RecordError> {
        let options = self.options;
        let payload = self.payload.finish().to_bytes();
        let payload = match options.compression {
            Compression::None => payload,
            codec => codec.compress(&payload, options.level)?.into(),
        };
        let size = HEADER_BYTES + payload.len();
        if size > SIZE_MAX - LOG_OVERHEAD {
            return Err(RecordError::TooLarge(size));
        }
        let mut attributes = options.compression as i16;
        let mut max_timestamp = self.max_timestamp;
        if options.timestamp_type == TimestampType::LogAppendTime {
            attributes |= ATTRIBUTE_LOG_APPEND_TIME;
            max_timestamp = options.log_append_time_ms;
        }
        attributes |= if options.transactional { ATTRIBUTE_TRANSACTIONAL } else { 0 };
        attributes |= if options.control { ATTRIBUTE_CONTROL } else { 0 };
        attributes |=
            if options.delete_horizon_ms.is_some() { ATTRIBUTE_DELETE_HORIZON } else { 0 };
        let last_offset = options.last_offset.unwrap_or(self.next_offset - 1);
        let producer =
            options.producer.unwrap_or(ProducerStamp { id: -1, epoch: -1, base_sequence: -1 });
        let mut header = BatchHeader {
            base_offset: options.base_offset,
            length: (size - LOG_OVERHEAD) as i32,
            leader_epoch: options.leader_epoch,
            magic: 2,
            crc: 0,
            attributes,
            last_offset_delta: (last_offset - options.base_offset) as i32,
            base_timestamp: self.base_timestamp.unwrap_or(batch::NONE),
            max_timestamp,
            producer_id: producer.id,
            producer_epoch: producer.epoch,
            base_sequence: producer.base_sequence,
            count: self.count,
        };
        header.seal(&payload);
        Ok([&header.to_bytes()[..], &payload].concat().into())
    }
}

fn write_nullable(out: &mut Writer, bytes: Option<&[u8]>) {
    match bytes {
        Some(bytes) => {
            out.varint(bytes.len() as i32);
            out.raw(bytes);
        }
        None => out.varint(-1),
    }
}

/// What a control record says (the `type` of its key).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i16)]
pub enum ControlKind {
    /// A transaction was aborted.
    Abort = 0,
    /// A transaction was committed.
    Commit = 1,
    /// A KRaft leader took over (LeaderChangeMessage).
    LeaderChange = 2,
    /// First record of a snapshot.
    SnapshotHeader = 3,
    /// Last record of a snapshot.
    SnapshotFooter = 4,
    /// The quorum's `kraft.version`.
    KRaftVersion = 5,
    /// The quorum's voters.
    KRaftVoters = 6,
}

impl ControlKind {
    /// The kind in a control record's key; `None` for keys cut short and kinds of the future,
    /// which readers skip.
    pub fn of_key(key: &[u8]) -> Option<Self> {
        let (version, rest) = key.split_first_chunk::<2>()?;
        let (kind, _) = rest.split_first_chunk::<2>()?;
        if i16::from_be_bytes(*version) < 0 {
            return None;
        }
        let kind = i16::from_be_bytes(*kind);
        [
            Self::Abort,
            Self::Commit,
            Self::LeaderChange,
            Self::SnapshotHeader,
            Self::SnapshotFooter,
            Self::KRaftVersion,
            Self::KRaftVoters,
        ]
        .into_iter()
        .find(|known| *known as i16 == kind)
    }

    /// The key: version 0, then the kind.
    pub fn key(self) -> [u8; 4] {
        let [high, low] = (self as i16).to_be_bytes();
        [0, 0, high, low]
    }
}

/// The value of an Abort or Commit record (EndTxnMarker v0).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndTxnMarker {
    /// Epoch of the transaction coordinator that wrote it.
    pub coordinator_epoch: i32,
}

impl EndTxnMarker {
    /// Reads the value; later versions only append fields.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let (version, rest) = value.split_first_chunk::<2>()?;
        let (epoch, _) = rest.split_first_chunk::<4>()?;
        (i16::from_be_bytes(*version) >= 0)
            .then_some(Self { coordinator_epoch: i32::from_be_bytes(*epoch) })
    }

    /// The value of version 0.
    pub fn to_bytes(self) -> [u8; 6] {
        let [a, b, c, d] = self.coordinator_epoch.to_be_bytes();
        [0, 0, a, b, c, d]
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn records(batch: &Bytes) -> Result<Vec<Record>, RecordError> {
        RecordIter::open(batch, 1 << 20)?.collect()
    }

    #[test]
    fn what_is_built_is_read_back_with_every_codec() {
        for id in 0..5 {
            let mut builder = BatchBuilder::new(BatchOptions {
                base_offset: 40,
                leader_epoch: 3,
                compression: Compression::from_id(id).unwrap(),
                producer: Some(ProducerStamp { id: 9, epoch: 1, base_sequence: 7 }),
                transactional: true,
                ..Default::default()
            });
            let twice = [("h", Some(&b"1"[..])), ("h", None), ("h", Some(&b"2"[..]))];
            builder.push(500, Some(b"k"), Some(b"v"), &twice);
            builder.push(400, None, None, &[]);
            builder.push_at(50, 600, Some(b""), Some(b""), &[]);
            let batch = builder.build().unwrap();
            batch::verify_crc(&batch).unwrap();
            let header = BatchHeader::parse(&batch).unwrap();
            assert_eq!((header.last_offset(), header.count), (50, 3));
            assert_eq!((header.base_timestamp, header.max_timestamp), (500, 600));
            assert!(header.is_transactional() && !header.is_control());
            assert_eq!(header.last_sequence(), 17);
            let read = records(&batch).unwrap();
            let offsets: Vec<_> = read.iter().map(|r| (r.offset, r.timestamp)).collect();
            assert_eq!(offsets, [(40, 500), (41, 400), (50, 600)]);
            assert_eq!(read[0].headers.len(), 3);
            assert_eq!(read[0].headers[2].1.as_deref(), Some(&b"2"[..]));
            assert_eq!((&read[1].key, &read[1].value), (&None, &None));
            assert_eq!(read[2].key.as_deref(), Some(&b""[..]));
        }
    }

    #[test]
    fn what_compaction_writes_keeps_place_producer_and_timestamps() {
        let producer = Some(ProducerStamp { id: 9, epoch: 1, base_sequence: 7 });
        let mut builder = BatchBuilder::new(BatchOptions {
            base_offset: 40,
            compression: Compression::Zstd,
            producer,
            delete_horizon_ms: Some(9_000),
            last_offset: Some(49),
            ..Default::default()
        });
        builder.push_at(42, 500, Some(b"k"), None, &[]);
        let batch = builder.build().unwrap();
        let header = BatchHeader::parse(&batch).unwrap();
        assert!(header.has_delete_horizon());
        assert_eq!((header.base_timestamp, header.max_timestamp), (9_000, 500));
        assert_eq!((header.last_offset(), header.last_sequence()), (49, 16));
        let read = records(&batch).unwrap().remove(0);
        assert_eq!((read.offset, read.timestamp), (42, 500));

        let empty = Bytes::copy_from_slice(&header.emptied());
        batch::verify_crc(&empty).unwrap();
        let header = BatchHeader::parse(&empty).unwrap();
        assert_eq!((header.base_offset, header.last_offset(), header.count), (40, 49, 0));
        assert_eq!((header.base_timestamp, header.max_timestamp), (-1, 500));
        assert_eq!((header.producer_id, header.last_sequence()), (9, 16));
        assert_eq!((header.attributes, empty.len()), (0, HEADER_BYTES));
        assert!(records(&empty).unwrap().is_empty());
    }

    #[test]
    fn leader_time_overrides_the_records_own() {
        let mut builder = BatchBuilder::new(BatchOptions {
            timestamp_type: TimestampType::LogAppendTime,
            log_append_time_ms: 99,
            ..Default::default()
        });
        builder.push(5, None, Some(b"v"), &[]);
        let read = records(&builder.build().unwrap()).unwrap();
        assert_eq!(read[0].timestamp, 99);
    }

    #[test]
    fn control_records_carry_their_kind_and_marker() {
        let mut builder = BatchBuilder::new(BatchOptions { control: true, ..Default::default() });
        let marker = EndTxnMarker { coordinator_epoch: 12 };
        builder.push_control(1, ControlKind::Commit, &marker.to_bytes());
        let batch = builder.build().unwrap();
        assert!(BatchHeader::parse(&batch).unwrap().is_control());
        let record = records(&batch).unwrap().remove(0);
        assert_eq!(ControlKind::of_key(&record.key.unwrap()), Some(ControlKind::Commit));
        assert_eq!(EndTxnMarker::parse(&record.value.unwrap()), Some(marker));
        assert_eq!(ControlKind::of_key(&[0, 0, 0]), None);
        assert_eq!(ControlKind::of_key(&[0, 0, 0, 99]), None);
    }

    /// A batch of `count` records around a payload given byte by byte.
    pub(crate) fn raw(count: i32, payload: &[u8]) -> Bytes {
        let empty = BatchBuilder::new(BatchOptions::default()).build().unwrap();
        let mut header = BatchHeader::parse(&empty).unwrap();
        header.length = (HEADER_BYTES - LOG_OVERHEAD + payload.len()) as i32;
        header.count = count;
        header.base_timestamp = 0;
        Bytes::from([&header.to_bytes()[..], payload].concat())
    }

    #[test]
    fn lengths_and_counts_must_be_exact() {
        // length 6: attributes, timestamp, offset, null key, null value, no headers.
        let good = [12, 0, 0, 0, 1, 1, 0];
        assert_eq!(records(&raw(1, &good)).unwrap().len(), 1);
        assert_eq!(records(&raw(0, &good)), Err(RecordError::TrailingBytes(7)));
        let malformed = |count, payload: &[u8], index| {
            let error = records(&raw(count, payload)).unwrap_err();
            assert!(
                matches!(error, RecordError::Malformed { index: at, .. } if at == index),
                "{error}"
            );
        };
        malformed(2, &good, 1);
        malformed(1, &[14, 0, 0, 0, 1, 1, 0, 0], 0); // a byte the record does not use
        malformed(1, &[11, 0, 0, 0, 1, 1, 0], 0); // negative record length
        malformed(1, &[12, 0, 0, 0, 1, 1, 1], 0); // negative header count
        malformed(1, &[12, 0, 0, 0, 1, 1, 0x7e], 0); // 63 headers in no bytes
        malformed(1, &[12, 0, 0, 0, 0x7e, 1, 0], 0); // key beyond the record
        malformed(1, &[16, 0, 0, 0, 1, 1, 2, 1, 1], 0); // null header name
        malformed(1, &[18, 0, 0, 0, 1, 1, 2, 2, 0xff, 1], 0); // name not UTF-8
    }

    #[test]
    fn timestamps_go_round_the_end_as_in_java() {
        let mut record = vec![30, 0];
        // A delta of the largest number, zigzag.
        record.extend([0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]);
        record.extend([0, 1, 1, 0]);
        let batch = raw(1, &record);
        let mut header = BatchHeader::parse(&batch).unwrap();
        header.base_timestamp = 5;
        let batch = Bytes::from([&header.to_bytes()[..], &batch[HEADER_BYTES..]].concat());
        assert!(crate::walk::check_records(&batch, 100).is_ok());
        assert_eq!(records(&batch).unwrap()[0].timestamp, i64::MIN + 4);
    }

    #[test]
    fn damaged_payloads_never_panic() {
        let mut builder = BatchBuilder::new(BatchOptions::default());
        builder.push(1, Some(b"key"), Some(b"value"), &[("name", Some(b"header"))]);
        builder.push(i64::MAX, None, Some(b"value"), &[]);
        let good = builder.build().unwrap();
        for at in 0..good.len() {
            for bit in 0..8 {
                let mut bad = good.to_vec();
                bad[at] ^= 1 << bit;
                let bad = Bytes::from(bad);
                if let Ok(read) = records(&bad) {
                    assert!(read.len() <= good.len());
                }
            }
        }
    }

    #[test]
    fn a_small_bomb_is_refused() {
        let mut builder = BatchBuilder::new(BatchOptions {
            compression: Compression::Zstd,
            ..Default::default()
        });
        builder.push(1, None, Some(&vec![0; 4 << 20]), &[]);
        let batch = builder.build().unwrap();
        assert!(batch.len() < 4096);
        let limit = 1 << 20;
        let error = RecordIter::open(&batch, limit).unwrap_err();
        assert_eq!(error, CompressError::TooLarge { limit }.into());
    }
}
