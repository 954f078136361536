//! CRC-32C (Castagnoli), the checksum of record batches and producer snapshots.
//!
//! Owns nothing; a thin name over the SIMD implementation so that no caller picks the wrong
//! polynomial: Apache Kafka's old message formats used plain CRC-32, nothing here does.

use crc_fast::CrcAlgorithm::Crc32Iscsi;

/// The checksum of `bytes`.
pub fn of(bytes: &[u8]) -> u32 {
    crc_fast::checksum(Crc32Iscsi, bytes) as u32
}

/// The checksum of all parts as if they were one buffer.
pub fn of_parts(parts: &[&[u8]]) -> u32 {
    let mut digest = crc_fast::Digest::new(Crc32Iscsi);
    for part in parts {
        digest.update(part);
    }
    digest.finalize() as u32
}

#[cfg(test)]
mod tests {
    #[test]
    fn matches_the_published_check_value_whole_and_in_parts() {
        assert_eq!(super::of(b"123456789"), 0xe306_9283);
        assert_eq!(super::of_parts(&[b"123", b"", b"456789"]), 0xe306_9283);
    }
}
