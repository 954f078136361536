//! The rules a client's records must keep, checked before they come near a log.
//!
//! Pure. What is expensive, the checksum and the walk of the records, is for the connection's
//! thread ([`inspect`]); what takes the topic's rules comes after ([`validate`]), and opens a batch
//! only to store it with another codec than the producer's.

use bytes::Bytes;
use wire::batch::{
    self, ATTRIBUTE_LOG_APPEND_TIME, BatchError, BatchHeader, Batches, HEADER_BYTES, LOG_OVERHEAD,
    PREFIX_BYTES, TimestampType,
};
use wire::compress::Compression;
use wire::record::RecordError;
use wire::walk::{Traits, check_records};

use crate::AppendError;

/// A topic's rules, and the time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidateConfig {
    /// `max.message.bytes`.
    pub max_message_bytes: usize,
    /// `message.timestamp.type`.
    pub timestamp_type: TimestampType,
    /// `message.timestamp.before.max.ms`.
    pub timestamp_before_max_ms: i64,
    /// `message.timestamp.after.max.ms`.
    pub timestamp_after_max_ms: i64,
    /// `cleanup.policy` contains `compact`.
    pub compact: bool,
    /// `compression.type`; `None` is `producer`.
    pub compression: Option<Compression>,
    /// The level for that codec.
    pub compression_level: Option<i32>,
    /// False for Produce before version 7 (KIP-110).
    pub zstd_allowed: bool,
    /// Bound on an opened payload.
    pub decompressed_bytes_max: usize,
    /// The leader's clock.
    pub now_ms: i64,
}

impl Default for ValidateConfig {
    fn default() -> Self {
        Self {
            max_message_bytes: 1_048_588,
            timestamp_type: TimestampType::CreateTime,
            timestamp_before_max_ms: i64::MAX,
            timestamp_after_max_ms: 3_600_000,
            compact: false,
            compression: None,
            compression_level: None,
            zstd_allowed: true,
            decompressed_bytes_max: 256 << 20,
            now_ms: 0,
        }
    }
}

/// One batch that may be appended; offset and leader epoch are still the producer's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Validated {
    header: BatchHeader,
    batch: Bytes,
    /// The header differs from the batch's bytes beyond the uncovered prefix.
    restamped: bool,
}

impl Validated {
    /// A batch the node itself built: a coordinator's records or markers, a KRaft leader's.
    ///
    /// # Errors
    /// Not exactly one whole batch.
    pub fn trusted(batch: Bytes) -> Result<Self, AppendError> {
        let header = BatchHeader::parse(&batch).map_err(refuse)?;
        if header.size_in_bytes() != batch.len() || header.count < 1 {
            return Err(AppendError::InvalidRecord("not exactly one batch".into()));
        }
        Ok(Self { header, batch, restamped: false })
    }

    /// The header.
    pub fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// The leader's time, if it is the records' time.
    pub fn log_append_time_ms(&self) -> Option<i64> {
        let leader = self.header.timestamp_type() == TimestampType::LogAppendTime;
        leader.then_some(self.header.max_timestamp)
    }

    pub(crate) fn batch(&self) -> &Bytes {
        &self.batch
    }

    /// The bytes to store: a patched head and the rest of the frame, payload uncopied.
    pub(crate) fn parts(self, header: &BatchHeader) -> Vec<Bytes> {
        let head = header.to_bytes();
        let patched = if self.restamped { HEADER_BYTES } else { PREFIX_BYTES };
        vec![Bytes::copy_from_slice(&head[..patched]), self.batch.slice(patched..)]
    }
}

/// What a client sent for one partition, as [`inspect`] found it: [`validate`] looks at no payload
/// again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspected {
    first: Option<Result<(BatchHeader, Bytes), BatchError>>,
    /// Something follows the first batch and is not just cut off.
    more: bool,
    /// Of the first batch.
    checksum: Result<(), BatchError>,
    /// Of its records.
    traits: Traits,
}

/// Checks what a client sent for one partition against the rules of its topic; exactly one batch
/// passes.
///
/// # Errors
/// The rule that was broken.
pub fn validate(inspected: Inspected, config: &ValidateConfig) -> Result<Validated, AppendError> {
    let invalid = |what: &str| AppendError::InvalidRecord(what.into());
    let (header, batch) = match inspected.first {
        Some(Ok(found)) => found,
        // Apache Kafka's iterator sees no batch where one is cut off.
        None | Some(Err(BatchError::Truncated { .. })) => {
            return Err(invalid("produce requests must have exactly one record batch"));
        }
        Some(Err(error)) => return Err(refuse(error)),
    };
    if inspected.more {
        return Err(invalid("produce requests must have exactly one record batch"));
    }
    let codec = header.compression().ok_or_else(|| {
        let text = format!("unknown compression codec {}", header.compression_id());
        AppendError::UnsupportedCompressionType(text)
    })?;
    if codec == Compression::Zstd && !config.zstd_allowed {
        let text = "zstd needs produce version 7 or later";
        return Err(AppendError::UnsupportedCompressionType(text.into()));
    }
    if header.base_offset != 0 {
        return Err(invalid("base offset of a produced batch must be 0"));
    }
    check_size(batch.len(), config)?;
    inspected.checksum.map_err(refuse)?;
    check_header(&header, config)?;
    if config.compact && !inspected.traits.named {
        // The cleaner could not read it.
        return Err(invalid("a header's name is not UTF-8"));
    }
    if config.compact && !inspected.traits.keyed {
        return Err(AppendError::KeyMissing);
    }
    finish(header, batch, codec, config)
}

/// Opens what a client sent, computes its checksum and walks its records: the part of the check
/// that needs no topic and costs the most, for the connection's own thread. Bytes that are no batch
/// pass, [`validate`] refuses them.
///
/// # Errors
/// Records that are not what their batch says.
pub fn inspect(records: Bytes, decompressed_bytes_max: usize) -> Result<Inspected, AppendError> {
    let mut batches = Batches::new(records);
    let first = batches.next();
    // A partial batch behind the first is cut off in silence, a whole one is refused.
    let more = !matches!(batches.next(), None | Some(Err(BatchError::Truncated { .. })));
    let mut checksum = Ok(());
    let mut traits = Traits { keyed: false, named: false };
    if let Some(Ok((_, batch))) = &first {
        checksum = batch::verify_crc(batch);
        if checksum.is_ok() {
            match check_records(batch, decompressed_bytes_max) {
                Ok(found) => traits = found,
                // Refused by whoever validates it.
                Err(RecordError::UnknownCodec(_)) => {}
                Err(error) => return Err(AppendError::InvalidRecord(error.to_string())),
            }
        }
    }
    Ok(Inspected { first, more, checksum, traits })
}

fn check_size(size: usize, config: &ValidateConfig) -> Result<(), AppendError> {
    let limit = config.max_message_bytes;
    if size > limit { Err(AppendError::MessageTooLarge { size, limit }) } else { Ok(()) }
}

fn check_header(header: &BatchHeader, config: &ValidateConfig) -> Result<(), AppendError> {
    let invalid = |what: &str| Err(AppendError::InvalidRecord(what.into()));
    if header.is_control() {
        return invalid("clients may not write control records");
    }
    if header.last_offset_delta < 0 {
        return invalid("batch has an invalid offset range");
    }
    if header.count <= 0 || i64::from(header.count) != i64::from(header.last_offset_delta) + 1 {
        return invalid("the number of records does not match the offset range");
    }
    if header.has_producer_id() && header.base_sequence < 0 {
        return invalid("producer id without a sequence number");
    }
    if header.has_producer_id() && header.producer_epoch < 0 {
        return invalid("producer id without an epoch");
    }
    if header.is_transactional() && !header.has_producer_id() {
        return invalid("transactional batch without a producer id");
    }
    if header.timestamp_type() == TimestampType::LogAppendTime {
        let text = "producers may not set the timestamp type to LogAppendTime";
        return Err(AppendError::InvalidTimestamp(text.into()));
    }
    if config.timestamp_type == TimestampType::CreateTime {
        check_timestamps(header, config)?;
    }
    Ok(())
}

/// The header's timestamps stand for the records': the largest, and that of the first.
fn check_timestamps(header: &BatchHeader, config: &ValidateConfig) -> Result<(), AppendError> {
    let now = config.now_ms;
    let late = header.max_timestamp.saturating_sub(now) > config.timestamp_after_max_ms;
    let early = |timestamp: i64| {
        timestamp != batch::NONE && now.saturating_sub(timestamp) > config.timestamp_before_max_ms
    };
    if late || early(header.base_timestamp) || early(header.max_timestamp) {
        return Err(AppendError::InvalidTimestamp(format!(
            "timestamps {}..{} are out of range at {now}",
            header.base_timestamp, header.max_timestamp
        )));
    }
    Ok(())
}

/// Applies the codec and the clock of the topic.
fn finish(
    mut header: BatchHeader,
    mut batch: Bytes,
    codec: Compression,
    config: &ValidateConfig,
) -> Result<Validated, AppendError> {
    let mut restamped = false;
    if let Some(target) = config.compression.filter(|target| *target != codec) {
        // Records are encoded alike under every codec, so only the payload is turned.
        let corrupt =
            |error: wire::compress::CompressError| AppendError::CorruptMessage(error.to_string());
        let packed = batch.slice(HEADER_BYTES..);
        let payload = codec.decompress(&packed, config.decompressed_bytes_max).map_err(corrupt)?;
        let payload = target.compress(&payload, config.compression_level).map_err(corrupt)?;
        check_size(HEADER_BYTES + payload.len(), config)?;
        header.attributes = (header.attributes & !7) | target as i16;
        header.length = (HEADER_BYTES - LOG_OVERHEAD + payload.len()) as i32;
        batch = [&header.to_bytes()[..], &payload].concat().into();
        restamped = true;
    }
    if config.timestamp_type == TimestampType::LogAppendTime {
        header.attributes |= ATTRIBUTE_LOG_APPEND_TIME;
        header.max_timestamp = config.now_ms;
        restamped = true;
    }
    if restamped {
        header.seal(&batch[HEADER_BYTES..]);
    }
    Ok(Validated { header, batch, restamped })
}

fn refuse(error: BatchError) -> AppendError {
    match error {
        // Produce v3 and later refuse old formats as invalid; there is no older Produce left.
        BatchError::OldMagic(_) => AppendError::InvalidRecord(error.to_string()),
        other => AppendError::CorruptMessage(other.to_string()),
    }
}

#[cfg(test)]
mod tests;
