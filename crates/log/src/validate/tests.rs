//! One test per rule of a produce.

use wire::record::{BatchBuilder, BatchOptions, ProducerStamp, RecordIter};

use super::*;

const NOW: i64 = 1_000_000;

fn config() -> ValidateConfig {
    ValidateConfig { now_ms: NOW, ..ValidateConfig::default() }
}

fn built(options: BatchOptions, keys: &[Option<&[u8]>]) -> Bytes {
    let mut builder = BatchBuilder::new(options);
    for key in keys {
        builder.push(NOW, *key, Some(b"value"), &[]);
    }
    builder.build().unwrap()
}

fn plain() -> Bytes {
    built(BatchOptions { leader_epoch: -1, ..Default::default() }, &[Some(b"k"), Some(b"k")])
}

fn both(records: Bytes, config: &ValidateConfig) -> Result<Validated, AppendError> {
    validate(inspect(records, config.decompressed_bytes_max)?, config)
}

fn code(records: Bytes, config: &ValidateConfig) -> i16 {
    both(records, config).map_or_else(|error| error.code(), |_| 0)
}

/// The batch with its header changed and sealed again.
fn changed(batch: &Bytes, change: impl FnOnce(&mut BatchHeader)) -> Bytes {
    let mut header = BatchHeader::parse(batch).unwrap();
    change(&mut header);
    header.seal(&batch[HEADER_BYTES..]);
    [&header.to_bytes()[..], &batch[HEADER_BYTES..]].concat().into()
}

#[test]
fn a_good_batch_passes_without_a_copy_of_its_payload() {
    let batch = plain();
    let validated = both(batch.clone(), &config()).unwrap();
    let header = BatchHeader { base_offset: 9, leader_epoch: 4, ..*validated.header() };
    let parts = validated.parts(&header);
    assert_eq!(parts[1].as_ptr(), batch[PREFIX_BYTES..].as_ptr());
    batch::verify_crc(&parts.concat()).unwrap();
}

#[test]
fn every_rule_has_its_error_code() {
    let good = plain();
    let stamp = ProducerStamp { id: 5, epoch: 0, base_sequence: 0 };
    let idempotent = built(BatchOptions { producer: Some(stamp), ..Default::default() }, &[None]);
    let two = Bytes::from([good.clone(), good.clone()].concat());
    let mut flipped = good.to_vec();
    *flipped.last_mut().unwrap() ^= 1;
    let mut old = good.to_vec();
    old[16] = 1;
    let cases: Vec<(&str, Bytes, i16)> = vec![
        ("good", good.clone(), 0),
        ("nothing", Bytes::new(), 87),
        ("cut off", good.slice(..good.len() - 1), 87),
        ("two batches", two.clone(), 87),
        ("a partial second batch", two.slice(..good.len() + 30), 0),
        ("old format", old.into(), 87),
        ("flipped bit", flipped.into(), 2),
        ("base offset", changed(&good, |h| h.base_offset = 1), 87),
        ("control", changed(&good, |h| h.attributes |= batch::ATTRIBUTE_CONTROL), 87),
        ("count too low", changed(&good, |h| h.count = 1), 87),
        ("count of zero", changed(&good, |h| (h.count, h.last_offset_delta) = (0, -1)), 87),
        ("codec 7", changed(&good, |h| h.attributes |= 7), 76),
        ("their LogAppendTime", changed(&good, |h| h.attributes |= 8), 32),
        ("no sequence", changed(&idempotent, |h| h.base_sequence = -1), 87),
        ("no epoch", changed(&idempotent, |h| h.producer_epoch = -1), 87),
        ("transactional", changed(&good, |h| h.attributes |= 16), 87),
        ("too late", changed(&good, |h| h.max_timestamp = NOW + 3_600_001), 32),
        ("no timestamp", changed(&good, |h| (h.base_timestamp, h.max_timestamp) = (-1, -1)), 0),
    ];
    for (name, records, expected) in cases {
        assert_eq!(code(records, &config()), expected, "{name}");
    }
}

#[test]
fn size_age_and_keys_are_the_topics_choice() {
    let good = plain();
    let small = ValidateConfig { max_message_bytes: good.len() - 1, ..config() };
    assert_eq!(code(good.clone(), &small), 10);
    let old = changed(&good, |h| h.base_timestamp = NOW - 11);
    let recent = ValidateConfig { timestamp_before_max_ms: 10, ..config() };
    assert_eq!(code(old.clone(), &recent), 32);
    let leader = ValidateConfig { timestamp_type: TimestampType::LogAppendTime, ..recent };
    assert_eq!(code(old, &leader), 0, "the producer's time does not matter");
    let compact = ValidateConfig { compact: true, ..config() };
    assert_eq!(code(good, &compact), 0);
    for compression in [Compression::None, Compression::Zstd] {
        let options = BatchOptions { compression, ..Default::default() };
        assert_eq!(code(built(options, &[Some(b"k"), None]), &compact), 87);
    }
    // A header whose name is no text: the cleaner could not read it.
    let record = [20, 0, 0, 0, 2, b'k', 1, 2, 2, 0xff, 1];
    let mut unnamed = plain().slice(..HEADER_BYTES).to_vec();
    unnamed.extend(&record);
    let length = (unnamed.len() - wire::batch::LOG_OVERHEAD) as i32;
    let unnamed = changed(&unnamed.into(), |header| {
        header.length = length;
        (header.count, header.last_offset_delta) = (1, 0);
        header.max_timestamp = header.base_timestamp;
    });
    assert_eq!((code(unnamed.clone(), &config()), code(unnamed, &compact)), (0, 87));
    let zstd = BatchOptions { compression: Compression::Zstd, ..Default::default() };
    let before_v7 = ValidateConfig { zstd_allowed: false, ..config() };
    assert_eq!(code(built(zstd, &[None]), &before_v7), 76);
}

#[test]
fn the_topics_codec_and_clock_are_applied_and_the_checksum_follows() {
    let wanted = ValidateConfig {
        compression: Some(Compression::Lz4),
        timestamp_type: TimestampType::LogAppendTime,
        ..config()
    };
    for compression in [Compression::None, Compression::Gzip, Compression::Lz4] {
        let batch = built(BatchOptions { compression, ..Default::default() }, &[None, None]);
        let validated = both(batch, &wanted).unwrap();
        assert_eq!(validated.log_append_time_ms(), Some(NOW));
        let header = BatchHeader { base_offset: 70, leader_epoch: 2, ..*validated.header() };
        let stored = Bytes::from(validated.parts(&header).concat());
        batch::verify_crc(&stored).unwrap();
        assert_eq!(header.compression(), Some(Compression::Lz4));
        let records: Vec<_> =
            RecordIter::open(&stored, 1 << 20).unwrap().map(Result::unwrap).collect();
        assert_eq!(records.len(), 2);
        assert_eq!((records[1].offset, records[1].timestamp), (71, NOW));
    }
}
