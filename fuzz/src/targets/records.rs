//! Batches, the records in them, the codecs around those, and what a produce must pass.

use ottla_log::ValidateConfig;
use wire::batch::{BatchHeader, Batches, HEADER_BYTES, TimestampType};
use wire::record::{Record, RecordError, RecordIter};
use wire::walk::check_records;
use wire::{Bytes, batch};

use crate::Input;
use crate::batches::{CODECS, damaged, records, sequence};
use crate::memory::{bounded, decoder_limit};
use crate::mutate::mutate;
use crate::random::Random;

/// More than any damaged batch here opens to by honest means.
const OPENED_BYTES_MAX: usize = 1 << 20;

/// One batch.
pub fn make(random: &mut Random) -> Input {
    let bytes = damaged(random);
    Input { flags: random.bits(), bytes: bytes.into(), ..Input::default() }
}

/// Several batches.
pub fn make_sequence(random: &mut Random) -> Input {
    let mut bytes = sequence(random);
    let partner = records(random);
    mutate(random, &mut bytes, &partner);
    Input { bytes: bytes.into(), ..Input::default() }
}

/// A compressed payload without its batch.
pub fn make_packed(random: &mut Random) -> Input {
    let choice = random.below(CODECS.len());
    let mut packed = || {
        let length = random.pick(&[0, 1, 100, 3_000, 40_000, 300_000]);
        let payload = random.bytes(length);
        CODECS[choice].compress(&payload, None).unwrap_or_default()
    };
    let (mut bytes, partner) = (packed(), packed());
    mutate(random, &mut bytes, &partner);
    Input { choice, flags: random.bits(), bytes: bytes.into(), ..Input::default() }
}

/// Walks the batches: they and the rest are the input, each of its declared size.
pub fn batches(input: &Input) -> Result<(), String> {
    let limit = decoder_limit(input.bytes.len());
    let mut walk = Batches::new(input.bytes.clone());
    let found: Vec<_> = bounded("Batches", limit, || walk.by_ref().collect())?;
    let mut walked = 0;
    for (header, bytes) in found.iter().flatten() {
        walked += bytes.len();
        if header.size_in_bytes() != bytes.len() || header.to_bytes() != bytes[..HEADER_BYTES] {
            return Err(format!("a batch that is not its header: {header:?}"));
        }
        let _ = (batch::verify_crc(bytes), header.next_offset(), header.last_sequence());
        check_agreement(bytes)?;
    }
    let failed = found.last().is_some_and(Result::is_err);
    if walked + walk.rest().len() != input.bytes.len() || walk.rest().is_empty() == failed {
        return Err(format!("walked {walked}, left {}", walk.rest().len()));
    }
    Ok(())
}

/// [`check_records`] and [`RecordIter`] agree on one batch.
pub fn check(input: &Input) -> Result<(), String> {
    check_agreement(&input.bytes)
}

fn check_agreement(bytes: &Bytes) -> Result<(), String> {
    // A record is four words and a list of headers, and takes seven bytes at least.
    let limit = decoder_limit(bytes.len()) + 64 * OPENED_BYTES_MAX;
    let checked = bounded("check_records", limit, || check_records(bytes, OPENED_BYTES_MAX))?;
    let read = || -> Result<Vec<Record>, RecordError> {
        RecordIter::open(bytes, OPENED_BYTES_MAX)?.collect()
    };
    let read = bounded("RecordIter", limit, read)?;
    let (base, count) = match BatchHeader::parse(bytes) {
        Ok(header) => (header.base_offset, header.count.max(0) as usize),
        Err(_) => (0, 0),
    };
    let consecutive = |records: &[Record]| {
        let mut numbered = records.iter().enumerate();
        numbered.all(|(index, record)| record.offset.checked_sub(index as i64) == Some(base))
    };
    let keyed = |records: &[Record]| records.iter().all(|record| record.key.is_some());
    match (checked, read) {
        (Ok(traits), Ok(records))
            if records.len() == count
                && consecutive(&records)
                && (traits.keyed, traits.named) == (keyed(&records), true) =>
        {
            Ok(())
        }
        (Ok(traits), Ok(records)) => Err(format!("checked {count}, {traits:?}, read {records:?}")),
        (Ok(traits), Err(RecordError::Malformed { source, .. }))
            if is_stricter(source.what, traits.named) =>
        {
            Ok(())
        }
        (Ok(_), Err(error)) => Err(format!("checked, then reading failed: {error}")),
        (Err(_), Err(_)) => Ok(()),
        (Err(_), Ok(records)) if !consecutive(&records) => Ok(()),
        (Err(error), Ok(_)) => Err(format!("read, but the check refused it: {error}")),
    }
}

/// What only the reader refuses: the check takes note of names that are no text, and knows no
/// offsets.
fn is_stricter(what: &str, named: bool) -> bool {
    what == "header name is not UTF-8" && !named || what == "offset out of range"
}

/// Opens a payload within a bound.
pub fn decompress(input: &Input) -> Result<(), String> {
    let codec = CODECS[input.choice];
    let limit = [0, 1, 1_000, 40_000, 300_000, 1 << 22][(input.flags % 6) as usize];
    // The output grows by doubling. What zstd's C code takes is not seen, and an LZ4 frame that
    // declares larger blocks (up to 4 MiB) needs a header checksum that mutation rarely hits.
    let slack = 1 << 20;
    let opened =
        bounded(codec.name(), 3 * limit + slack, || codec.decompress(&input.bytes, limit))?;
    match opened {
        Ok(bytes) if bytes.len() > limit => Err(format!("{} bytes of {limit}", bytes.len())),
        Ok(bytes) => {
            // I3 for a codec: what came out can be packed and opened to the same again.
            let packed = codec.compress(&bytes, None).map_err(|error| error.to_string())?;
            let again = codec.decompress(&packed.into(), bytes.len());
            if again.as_ref() == Ok(&bytes) { Ok(()) } else { Err(format!("{again:?}")) }
        }
        Err(_) => Ok(()),
    }
}

/// What both halves of the check of a produce accept, a consumer can read.
pub fn validate(input: &Input) -> Result<(), String> {
    let bits = input.flags;
    let config = ValidateConfig {
        max_message_bytes: if bits & 1 == 0 { 1 << 20 } else { 300 },
        timestamp_type: match bits & 2 {
            0 => TimestampType::CreateTime,
            _ => TimestampType::LogAppendTime,
        },
        compact: bits & 4 != 0,
        compression: (bits & 8 != 0).then(|| CODECS[(bits >> 8) as usize % CODECS.len()]),
        decompressed_bytes_max: OPENED_BYTES_MAX,
        now_ms: 2_000,
        ..ValidateConfig::default()
    };
    // The codec's state and a second copy of the payload come with another codec.
    let limit = decoder_limit(input.bytes.len()) + 64 * OPENED_BYTES_MAX;
    let both = bounded("validate", limit, || {
        let inspected = ottla_log::inspect(input.bytes.clone(), OPENED_BYTES_MAX).ok()?;
        ottla_log::validate(inspected, &config).ok()
    })?;
    let Some(validated) = both else { return Ok(()) };
    let Some(Ok((_, batch))) = Batches::new(input.bytes.clone()).next() else {
        return Err("accepted what is no batch".into());
    };
    let records: Result<Vec<_>, _> = match RecordIter::open(&batch, OPENED_BYTES_MAX) {
        Ok(records) => records.collect(),
        Err(error) => return Err(format!("accepted, but does not open: {error}")),
    };
    match records {
        Ok(records) if records.len() as i64 == i64::from(validated.header().count) => Ok(()),
        Err(RecordError::Malformed { source, .. }) if is_stricter(source.what, config.compact) => {
            Ok(())
        }
        other => Err(format!("accepted {:?}, but reads {other:?}", validated.header())),
    }
}
