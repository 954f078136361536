//! The codecs of record batches, both ways, as Apache Kafka's Java clients write and read them.
//!
//! Owns the framing: xerial's stream for snappy (and raw blocks on reading), LZ4 frames of
//! independent 64 KiB blocks without content checksum, zstd without a content size, gzip.
//!
//! Invariants:
//! - I1: decompression stops at the caller's bound, whatever sizes the input declares; memory is
//!   taken as output appears, never from a declared size alone.

use std::io::{self, BufRead, BufReader, Write};

use bytes::Bytes;

/// The codec of a batch, as numbered in its attributes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Compression {
    /// Records as they are.
    #[default]
    None = 0,
    /// RFC 1952.
    Gzip = 1,
    /// Xerial's framing of snappy blocks.
    Snappy = 2,
    /// LZ4 frame format.
    Lz4 = 3,
    /// KIP-110.
    Zstd = 4,
}

/// Why a payload can't be opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompressError {
    /// More output than the caller allowed.
    #[error("decompressed payload exceeds {limit} bytes")]
    TooLarge {
        /// The caller's bound.
        limit: usize,
    },
    /// The codec does not accept the bytes.
    #[error("{codec}: {what}")]
    Corrupt {
        /// Name of the codec.
        codec: &'static str,
        /// What it said.
        what: String,
    },
}

impl Compression {
    /// The codec of that number.
    pub fn from_id(id: u8) -> Option<Self> {
        [Self::None, Self::Gzip, Self::Snappy, Self::Lz4, Self::Zstd]
            .into_iter()
            .find(|codec| *codec as u8 == id)
    }

    /// The codec of that name in `compression.type`; `uncompressed` and `none` are the same.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "none" | "uncompressed" => Some(Self::None),
            "gzip" => Some(Self::Gzip),
            "snappy" => Some(Self::Snappy),
            "lz4" => Some(Self::Lz4),
            "zstd" => Some(Self::Zstd),
            _ => None,
        }
    }

    /// The name clients use.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }

    /// Compresses `payload`; `level` `None` is the codec's default (gzip 6, zstd 3). Snappy has
    /// no levels, and LZ4 here is the fast variant at any level: the format is the same.
    ///
    /// # Errors
    /// The codec refuses the level.
    pub fn compress(self, payload: &[u8], level: Option<i32>) -> Result<Vec<u8>, CompressError> {
        let out = Vec::with_capacity(payload.len() / 2 + 64);
        match self {
            Self::None => Ok(payload.to_vec()),
            Self::Gzip => {
                let level = level.filter(|level| (0..=9).contains(level));
                let level = level.map_or(flate2::Compression::default(), |level| {
                    flate2::Compression::new(level as u32)
                });
                let mut encoder = flate2::write::GzEncoder::new(out, level);
                encoder.write_all(payload).and_then(|()| encoder.finish())
            }
            Self::Snappy => xerial_encode(payload),
            Self::Lz4 => {
                let info = lz4_flex::frame::FrameInfo::new()
                    .block_size(lz4_flex::frame::BlockSize::Max64KB)
                    .block_mode(lz4_flex::frame::BlockMode::Independent);
                let mut encoder = lz4_flex::frame::FrameEncoder::with_frame_info(info, out);
                encoder.write_all(payload).and_then(|()| Ok(encoder.finish()?))
            }
            Self::Zstd => {
                // No pledged size: zstd-jni's streams carry none, and none is needed.
                zstd::stream::write::Encoder::new(out, level.unwrap_or(0)).and_then(
                    |mut encoder| {
                        encoder.write_all(payload)?;
                        encoder.finish()
                    },
                )
            }
        }
        .map_err(|error| self.corrupt(error.to_string()))
    }

    /// Opens `payload`, giving at most `limit` bytes. Without a codec it is a slice of the input.
    ///
    /// # Errors
    /// Output beyond `limit`, or bytes the codec refuses.
    pub fn decompress(self, payload: &Bytes, limit: usize) -> Result<Bytes, CompressError> {
        match self {
            Self::None if payload.len() > limit => Err(CompressError::TooLarge { limit }),
            Self::None => Ok(payload.clone()),
            // What zstd takes for damage depends on its room, so all readers go this way.
            Self::Gzip | Self::Snappy | Self::Lz4 | Self::Zstd => {
                let mut out = Vec::with_capacity(payload.len().saturating_mul(2).min(limit));
                self.pieces(payload, limit, |piece| {
                    out.extend_from_slice(piece);
                    Ok::<_, CompressError>(())
                })?;
                Ok(out.into())
            }
        }
    }

    /// Opens `payload` piece by piece: `visit` sees each in turn, at most `limit` bytes in all. A
    /// piece is a block of the codec, or what fits a buffer: in memory that is used again and again
    /// and still in the processor's cache.
    ///
    /// # Errors
    /// Output beyond `limit`, bytes the codec refuses, or what `visit` says; what was seen before
    /// is none the worse.
    pub fn pieces<E: From<CompressError>>(
        self,
        payload: &[u8],
        limit: usize,
        visit: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut bounded = Bounded { left: limit, limit, visit };
        // What a buffer costs is clearing it, which small batches would notice.
        let room = payload.len().saturating_mul(8).clamp(1024, PIECE_BYTES);
        match self {
            Self::None => bounded.piece(payload),
            // Several members make one stream, as for Java's GZIPInputStream.
            Self::Gzip => self.drain(
                BufReader::with_capacity(room, flate2::bufread::MultiGzDecoder::new(payload)),
                bounded,
            ),
            Self::Snappy => xerial_pieces(payload, bounded),
            Self::Lz4 => self.drain(lz4_flex::frame::FrameDecoder::new(payload), bounded),
            Self::Zstd => match zstd::stream::read::Decoder::with_buffer(payload) {
                Ok(decoder) => self.drain(BufReader::with_capacity(room, decoder), bounded),
                Err(error) => Err(self.corrupt(error.to_string()).into()),
            },
        }
    }

    fn drain<E: From<CompressError>, V: FnMut(&[u8]) -> Result<(), E>>(
        self,
        mut decoder: impl BufRead,
        mut bounded: Bounded<V>,
    ) -> Result<(), E> {
        loop {
            let piece = match decoder.fill_buf() {
                Ok([]) => return Ok(()),
                Ok(piece) => piece,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(self.corrupt(error.to_string()).into()),
            };
            let length = piece.len();
            bounded.piece(piece)?;
            decoder.consume(length);
        }
    }

    fn corrupt(self, what: impl Into<String>) -> CompressError {
        CompressError::Corrupt { codec: self.name(), what: what.into() }
    }
}

/// Passes pieces on until they are more than allowed.
struct Bounded<V> {
    left: usize,
    limit: usize,
    visit: V,
}

impl<V> Bounded<V> {
    fn piece<E: From<CompressError>>(&mut self, piece: &[u8]) -> Result<(), E>
    where
        V: FnMut(&[u8]) -> Result<(), E>,
    {
        let too_large = CompressError::TooLarge { limit: self.limit };
        self.left = self.left.checked_sub(piece.len()).ok_or(too_large)?;
        (self.visit)(piece)
    }
}

/// What is opened at once where the codec leaves the choice: fits the second level of caches.
const PIECE_BYTES: usize = 64 * 1024;

/// Snappy blocks in the stream format of xerial's snappy-java.
fn xerial_encode(payload: &[u8]) -> io::Result<Vec<u8>> {
    let mut out = Vec::with_capacity(payload.len() / 2 + 64);
    out.extend_from_slice(&XERIAL_MAGIC);
    // Version, then the oldest version that can read it.
    out.extend_from_slice(&1i32.to_be_bytes());
    out.extend_from_slice(&1i32.to_be_bytes());
    let mut encoder = snap::raw::Encoder::new();
    for block in payload.chunks(XERIAL_BLOCK_BYTES) {
        let compressed = encoder.compress_vec(block).map_err(io::Error::other)?;
        out.extend_from_slice(&(compressed.len() as i32).to_be_bytes());
        out.extend_from_slice(&compressed);
    }
    Ok(out)
}

fn xerial_pieces<E: From<CompressError>, V: FnMut(&[u8]) -> Result<(), E>>(
    payload: &[u8],
    mut bounded: Bounded<V>,
) -> Result<(), E> {
    let mut block = Vec::new();
    if !payload.starts_with(&XERIAL_MAGIC) {
        // librdkafka and old Go clients send a bare block.
        return bounded.piece(snappy_block(payload, bounded.left, bounded.limit, &mut block)?);
    }
    let corrupt = |what: &str| Compression::Snappy.corrupt(what);
    let mut left = payload;
    while !left.is_empty() {
        // Streams may be concatenated, each with its header.
        if let Some(rest) = left.strip_prefix(&XERIAL_MAGIC) {
            left = rest.get(8..).ok_or_else(|| corrupt("stream header cut off"))?;
            continue;
        }
        let (length, rest) =
            left.split_first_chunk::<4>().ok_or_else(|| corrupt("block length cut off"))?;
        let length = u32::from_be_bytes(*length) as usize;
        let (packed, rest) =
            rest.split_at_checked(length).ok_or_else(|| corrupt("block cut off"))?;
        bounded.piece(snappy_block(packed, bounded.left, bounded.limit, &mut block)?)?;
        left = rest;
    }
    Ok(())
}

/// Opens one raw block into `room`, which is used again and again.
fn snappy_block<'a>(
    block: &[u8],
    left: usize,
    limit: usize,
    room: &'a mut Vec<u8>,
) -> Result<&'a [u8], CompressError> {
    let corrupt = |error: snap::Error| Compression::Snappy.corrupt(error.to_string());
    let declared = snap::raw::decompress_len(block).map_err(corrupt)?;
    if declared > left {
        return Err(CompressError::TooLarge { limit });
    }
    // I1: three bytes (a copy with a 16-bit offset) give at most 64, so a larger claim is a lie
    // that would only buy the sender an allocation.
    if declared > block.len().saturating_mul(64) {
        return Err(Compression::Snappy.corrupt("declared size impossible for the block"));
    }
    if room.len() < declared {
        room.resize(declared, 0);
    }
    let written = snap::raw::Decoder::new().decompress(block, room).map_err(corrupt)?;
    Ok(room.get(..written).unwrap_or_default())
}

const XERIAL_MAGIC: [u8; 8] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];
const XERIAL_BLOCK_BYTES: usize = 32 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    const CODECS: [Compression; 5] = [
        Compression::None,
        Compression::Gzip,
        Compression::Snappy,
        Compression::Lz4,
        Compression::Zstd,
    ];

    fn payload(bytes: usize) -> Vec<u8> {
        let mut state = 0x9e37_79b9u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 28) as u8
        };
        (0..bytes).map(|_| next()).collect()
    }

    #[test]
    fn every_codec_round_trips_across_block_borders() {
        for codec in CODECS {
            for bytes in [0, 1, 32 * 1024, 32 * 1024 + 1, 65_536, 200_001] {
                let original = payload(bytes);
                let packed = codec.compress(&original, None).unwrap();
                let opened = codec.decompress(&packed.into(), bytes).unwrap();
                assert!(opened == original, "{} of {bytes} bytes", codec.name());
            }
        }
    }

    #[test]
    fn a_bomb_stops_at_the_bound() {
        let zeros = vec![0u8; 8 << 20];
        for codec in CODECS {
            let packed = Bytes::from(codec.compress(&zeros, None).unwrap());
            let limit = 1 << 20;
            let error = codec.decompress(&packed, limit).unwrap_err();
            assert_eq!(error, CompressError::TooLarge { limit }, "{}", codec.name());
        }
    }

    #[test]
    fn a_snappy_block_that_only_claims_to_be_large_is_refused() {
        // 512 MiB in a varint, then one literal byte.
        let lie = Bytes::from_static(&[0x80, 0x80, 0x80, 0x80, 0x02, 0x00, b'x']);
        let error = Compression::Snappy.decompress(&lie, 1 << 30).unwrap_err();
        assert!(matches!(error, CompressError::Corrupt { .. }), "{error}");
    }

    #[test]
    fn snappy_reads_bare_blocks_and_concatenated_streams() {
        let original = payload(1000);
        let raw = snap::raw::Encoder::new().compress_vec(&original).unwrap();
        assert_eq!(Compression::Snappy.decompress(&raw.into(), 1000).unwrap(), original);
        let stream = Compression::Snappy.compress(&original, None).unwrap();
        let twice = Bytes::from([stream.clone(), stream].concat());
        assert_eq!(Compression::Snappy.decompress(&twice, 2000).unwrap().len(), 2000);
    }

    #[test]
    fn damaged_bytes_never_panic_nor_exceed_the_bound() {
        for codec in CODECS {
            let packed = codec.compress(&payload(3000), None).unwrap();
            for at in 0..packed.len() {
                for bad in [packed[at] ^ 0xff, packed[at] ^ 1] {
                    let mut damaged = packed.clone();
                    damaged[at] = bad;
                    if let Ok(opened) = codec.decompress(&damaged.into(), 4000) {
                        assert!(opened.len() <= 4000);
                    }
                }
                let cut = Bytes::copy_from_slice(&packed[..at]);
                assert!(codec.decompress(&cut, 4000).map_or(0, |opened| opened.len()) <= 4000);
            }
        }
    }

    #[test]
    fn lz4_frames_carry_the_flags_java_requires() {
        let packed = Compression::Lz4.compress(&payload(10), None).unwrap();
        assert_eq!(packed[..4], [0x04, 0x22, 0x4d, 0x18]);
        // Version 01, independent blocks, no checksums, no content size; blocks of 64 KiB.
        assert_eq!(packed[4..6], [0x60, 0x40]);
    }

    #[test]
    fn zstd_frames_carry_no_content_size() {
        let packed = Compression::Zstd.compress(&payload(10), None).unwrap();
        assert_eq!(packed[..4], [0x28, 0xb5, 0x2f, 0xfd]);
        assert_eq!(packed[4] >> 6, 0, "frame content size flag");
        assert_eq!(packed[4] & 0x20, 0, "single segment would imply a size");
    }
}
