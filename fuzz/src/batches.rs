//! Record batches: valid ones, and ones that were damaged below the checksum or the codec, which
//! plain mutation of the bytes would never get past.

use wire::batch::{ATTRIBUTE_LOG_APPEND_TIME, BatchHeader, HEADER_BYTES, LOG_OVERHEAD};
use wire::compress::Compression;
use wire::record::{BatchBuilder, BatchOptions, ProducerStamp};
use wire::{BytesMut, crc32c};

use crate::mutate::mutate;
use crate::random::Random;

/// The codecs, in the order of their numbers.
pub const CODECS: [Compression; 5] = [
    Compression::None,
    Compression::Gzip,
    Compression::Snappy,
    Compression::Lz4,
    Compression::Zstd,
];

/// One valid batch without compression.
fn plain(random: &mut Random) -> Vec<u8> {
    let producer = random.chance(30).then(|| ProducerStamp {
        id: random.below(3) as i64,
        epoch: random.below(2) as i16,
        base_sequence: random.below(5) as i32,
    });
    let transactional = producer.is_some() && random.chance(50);
    let mut builder = BatchBuilder::new(BatchOptions {
        leader_epoch: -1,
        producer,
        transactional,
        control: random.chance(2),
        ..BatchOptions::default()
    });
    for index in 0..random.pick(&[0, 1, 1, 2, 3, 30]) {
        let (key_bytes, value_bytes) = (random.below(9), random.pick(&[0, 1, 10, 200]));
        let (key, value) = (random.bytes(key_bytes), random.bytes(value_bytes));
        let headers = [("h", Some(&b"v"[..])), ("", None)];
        builder.push(
            1_000 + index,
            random.chance(70).then_some(&key),
            random.chance(80).then_some(&value),
            &headers[..random.below(3)],
        );
    }
    // Without a codec nothing can be refused.
    builder.build().map(|batch| batch.to_vec()).unwrap_or_default()
}

/// The records of a produce: mostly one valid batch, in any codec.
pub fn records(random: &mut Random) -> Vec<u8> {
    let batch = plain(random);
    let codec = random.pick(&CODECS);
    packed(&batch, &batch[HEADER_BYTES..], codec)
}

/// `batch` with another payload, in that codec, length and checksum set.
fn packed(batch: &[u8], payload: &[u8], codec: Compression) -> Vec<u8> {
    let Ok(mut header) = BatchHeader::parse(batch) else { return batch.to_vec() };
    let payload = codec.compress(payload, None).unwrap_or_default();
    header.attributes = (header.attributes & !7) | codec as i16;
    header.length = (HEADER_BYTES - LOG_OVERHEAD + payload.len()) as i32;
    header.seal(&payload);
    [&header.to_bytes()[..], &payload].concat()
}

/// A batch damaged at one or more of its levels: records, header, bytes.
pub fn damaged(random: &mut Random) -> Vec<u8> {
    let batch = plain(random);
    let mut payload = batch[HEADER_BYTES..].to_vec();
    if random.chance(60) {
        let partner = plain(random);
        mutate(random, &mut payload, &partner[HEADER_BYTES..]);
    }
    let codec = random.pick(&CODECS);
    let mut batch = packed(&batch, &payload, codec);
    if random.chance(30) {
        patch_header(random, &mut batch);
    }
    if random.chance(25) {
        let partner = records(random);
        mutate(random, &mut batch, &partner);
    }
    if random.chance(70) {
        reseal(&mut batch);
    }
    batch
}

/// Sets a field of the header that readers count or calculate with.
fn patch_header(random: &mut Random, batch: &mut [u8]) {
    let Ok(mut header) = BatchHeader::parse(batch) else { return };
    let number = random.number();
    match random.below(9) {
        0 => header.base_offset = number,
        1 => header.last_offset_delta = number as i32,
        2 => header.count = header.count.wrapping_add(random.pick(&[-1, 1])),
        3 => header.count = number as i32,
        4 => header.base_timestamp = number,
        5 => header.max_timestamp = number,
        6 => header.attributes ^= ATTRIBUTE_LOG_APPEND_TIME,
        7 => header.attributes = number as i16,
        _ => header.producer_id = number,
    }
    batch[..HEADER_BYTES].copy_from_slice(&header.to_bytes());
}

/// Sets the checksum of every batch that is whole.
pub fn reseal(bytes: &mut [u8]) {
    let mut left = bytes;
    while let Ok(header) = BatchHeader::parse(left)
        && header.size_in_bytes() <= left.len()
    {
        let (batch, rest) = left.split_at_mut(header.size_in_bytes());
        let crc = crc32c::of(&batch[wire::batch::CRC_START..]);
        batch[wire::batch::PREFIX_BYTES..wire::batch::CRC_START]
            .copy_from_slice(&crc.to_be_bytes());
        left = rest;
    }
}

/// A few batches one after another, some damaged.
pub fn sequence(random: &mut Random) -> Vec<u8> {
    let mut out = BytesMut::new();
    for _ in 0..random.below(4) {
        let batch = if random.chance(70) { records(random) } else { damaged(random) };
        out.extend_from_slice(&batch);
    }
    out.to_vec()
}
