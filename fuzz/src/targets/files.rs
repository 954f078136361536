//! The small files beside a log and in a log directory, and ids as text.

use wire::files::{
    AbortedTxn, FileError, FilteredSegment, KEY_FILTER_BLOCK_BYTES, KeyFilterBuilder,
    KeyFilterHeader, KeyHash, OffsetEntry, OffsetIndexEntry, TimeIndexEntry, parse_epochs,
    parse_meta, parse_offsets, parse_partition_metadata, parse_producers, parse_properties,
    render_epochs, render_meta, render_offsets, render_partition_metadata, render_producers,
};
use wire::{Bytes, Uuid, crc32c};

use crate::memory::{bounded, decoder_limit};
use crate::mutate::mutate;
use crate::random::Random;
use crate::{Input, log_files};

const KINDS: usize = 11;
const PRODUCERS: usize = 5;
const KEY_FILTER: usize = 9;
/// Keys in a filter, of which a file of another one has others.
const KEYS: u64 = 40;

/// A file of any kind.
pub fn make(random: &mut Random) -> Input {
    let choice = random.below(KINDS);
    if choice == KEY_FILTER {
        return make_key_filter(random);
    }
    let (mut bytes, partner) = (valid(random, choice), valid(random, choice));
    mutate(random, &mut bytes, &partner);
    if choice == PRODUCERS && random.chance(80) && bytes.len() >= 6 {
        let crc = crc32c::of(&bytes[6..]);
        bytes[2..6].copy_from_slice(&crc.to_be_bytes());
    }
    Input { choice, bytes: bytes.into(), ..Input::default() }
}

fn valid(random: &mut Random, choice: usize) -> Vec<u8> {
    let id = Uuid(u128::from(random.bits()) << 60 | 1);
    let from_log = |random: &mut Random, extension| {
        let found = log_files::ending(extension);
        found.get(random.below(found.len())).map(|bytes| bytes.to_vec()).unwrap_or_default()
    };
    match choice {
        0 => {
            let entry = |partition| OffsetEntry { topic: "t".into(), partition, offset: 7 };
            let count = random.below(4) as i32;
            render_offsets(&(0..count).map(entry).collect::<Vec<_>>()).into()
        }
        1 => from_log(random, "leader-epoch-checkpoint"),
        2 | 4 => format!(
            "#\n#Thu Jan 01\nnode.id={}\ndirectory.id={id}\nversion=1\ncluster.id=a\\: b\\\n c\n",
            random.number()
        )
        .into(),
        3 => format!("version: 0\ntopic_id: {id}").into(),
        PRODUCERS => from_log(random, ".snapshot"),
        6 => from_log(random, ".index"),
        7 => from_log(random, ".timeindex"),
        8 => (0..random.below(4) as i64)
            .flat_map(|number| {
                let (first_offset, last_offset) = (number, number + 5);
                let last_stable_offset = number + 6;
                AbortedTxn { producer_id: 1, first_offset, last_offset, last_stable_offset }
                    .to_bytes()
            })
            .collect(),
        _ => id.to_string().into(),
    }
}

/// The filter of keys that follow from the flags; the lowest bit is set if checksums were made good
/// again after it was damaged.
fn make_key_filter(random: &mut Random) -> Input {
    let flags = random.bits();
    let filter = |first: u64, base: i64| {
        let mut builder = KeyFilterBuilder::new(first % 7_000);
        (first..first + KEYS).for_each(|key| builder.enter(Some(&key.to_be_bytes())));
        let size = 100 + KEYS;
        builder.finish(FilteredSegment {
            base,
            size,
            tail_position: 9,
            end: base + 40,
            tail_crc: 7,
        })
    };
    let (mut bytes, partner) = (filter(flags >> 8, 0), filter((flags >> 8) + KEYS, 5));
    mutate(random, &mut bytes, &partner);
    if flags & 1 != 0 {
        let mut header = [0; 4];
        for (number, block) in
            bytes.as_chunks_mut::<KEY_FILTER_BLOCK_BYTES>().0.iter_mut().enumerate()
        {
            let (content, sum) = block.split_at_mut(KEY_FILTER_BLOCK_BYTES - 4);
            let place = (number as u32).wrapping_sub(1).to_be_bytes();
            let crc = match number {
                0 => crc32c::of(content),
                _ => crc32c::of_parts(&[&header, &place, content]),
            };
            sum.copy_from_slice(&crc.to_be_bytes());
            if number == 0 {
                header = crc.to_be_bytes();
            }
        }
    }
    Input { choice: KEY_FILTER, flags, bytes: bytes.into(), ..Input::default() }
}

/// What is damaged denies no key that was entered; what was made good may, and only then.
fn key_filter(input: &Input) -> Result<(), String> {
    let bytes = &input.bytes;
    let limit = decoder_limit(bytes.len());
    let Ok(header) = bounded("key filter", limit, || KeyFilterHeader::parse(bytes))? else {
        return Ok(());
    };
    // A whole file of the other filter is one, too.
    if header.segment.base != 0 {
        return Ok(());
    }
    let first = input.flags >> 8;
    for key in (first..first + KEYS).map(|key| key.to_be_bytes()) {
        let hash = KeyHash::of(&key);
        let Some(at) = header.position(hash) else { continue };
        if at >= header.file_bytes() {
            return Err(format!("a block at {at} of {}", header.file_bytes()));
        }
        let block = bytes.get(at as usize..).unwrap_or_default();
        let asked = bounded("block", limit, || header.may_hold(hash, block))?;
        if asked == Ok(false) && input.flags & 1 == 0 {
            return Err(format!("key {key:?} is denied"));
        }
    }
    Ok(())
}

/// Parses, within its memory; what is read is read the same after it was written.
pub fn check(input: &Input) -> Result<(), String> {
    let bytes = &input.bytes;
    match input.choice {
        0 => stable(bytes, |bytes| parse_offsets(bytes), |read| render_offsets(read).into()),
        1 => stable(bytes, |bytes| parse_epochs(bytes), |read| render_epochs(read).into()),
        2 => stable(bytes, |bytes| parse_meta(bytes), |read| render_meta(read).into()),
        3 => stable(
            bytes,
            |bytes| parse_partition_metadata(bytes),
            |read| render_partition_metadata(read).into(),
        ),
        4 => {
            let limit = decoder_limit(bytes.len());
            bounded("properties", limit, || parse_properties(bytes)).map(|_| ())
        }
        PRODUCERS => stable(bytes, parse_producers, |read| render_producers(read)),
        6 => stable(
            bytes,
            |bytes| OffsetIndexEntry::parse_file(bytes),
            |read| read.iter().flat_map(|entry| entry.to_bytes()).collect(),
        ),
        7 => stable(
            bytes,
            |bytes| TimeIndexEntry::parse_file(bytes),
            |read| read.iter().flat_map(|entry| entry.to_bytes()).collect(),
        ),
        8 => stable(
            bytes,
            |bytes| AbortedTxn::parse_file(bytes),
            |read| read.iter().flat_map(|entry| entry.to_bytes()).collect(),
        ),
        KEY_FILTER => key_filter(input),
        _ => uuid(bytes),
    }
}

fn stable<T: PartialEq + std::fmt::Debug>(
    bytes: &Bytes,
    parse: impl Fn(&Bytes) -> Result<T, FileError>,
    render: impl Fn(&T) -> Bytes,
) -> Result<(), String> {
    let Ok(read) = bounded("parse", decoder_limit(bytes.len()), || parse(bytes))? else {
        return Ok(());
    };
    match parse(&render(&read)) {
        Ok(again) if again == read => Ok(()),
        other => Err(format!("read {read:?}, and after writing it {other:?}")),
    }
}

fn uuid(bytes: &Bytes) -> Result<(), String> {
    let Ok(text) = std::str::from_utf8(bytes) else { return Ok(()) };
    match text.parse::<Uuid>() {
        Ok(id) if id.to_string().parse() == Ok(id) => Ok(()),
        Ok(id) => Err(format!("{id} is not read as it is written")),
        Err(_) => Ok(()),
    }
}
