//! The file of a key filter: what it denies, what it must not, and what is not one.

use super::*;

const SEGMENT: FilteredSegment =
    FilteredSegment { base: 77, size: 4096, tail_position: 4000, end: 99, tail_crc: 0xdead_beef };

fn key(number: u64) -> Vec<u8> {
    // Of all lengths that the hash treats in its own way.
    let mut key = mix(number).to_le_bytes().repeat(6);
    key.truncate((number % 45) as usize + 4);
    key.extend_from_slice(&number.to_be_bytes());
    key
}

fn filter(segment_bytes: u64, keys: std::ops::Range<u64>) -> Vec<u8> {
    let mut builder = KeyFilterBuilder::new(segment_bytes);
    keys.for_each(|number| builder.enter(Some(&key(number))));
    builder.finish(SEGMENT)
}

/// What a file says of a key.
fn ask(file: &[u8], key: &[u8]) -> Result<bool, FileError> {
    let header = KeyFilterHeader::parse(file)?;
    let hash = KeyHash::of(key);
    let Some(at) = header.position(hash) else { return Ok(true) };
    header.may_hold(hash, file.get(at as usize..).unwrap_or_default())
}

#[test]
fn the_hash_is_xxh64() {
    for (text, expected) in [
        ("", 0xef46_db37_51d8_e999_u64),
        ("a", 0xd24e_c4f1_a98c_6e5b),
        ("as", 0x1c33_0fb2_d66b_e179),
        ("asd", 0x631c_37ce_72a9_7393),
        ("asdf", 0x4158_72f5_99ce_a71e),
        ("abc", 0x44bc_2cf5_ad77_0999),
        ("Call me Ishmael. Some years ago--never mind how long precisely-", 0x02a2_e854_70d6_fd96),
    ] {
        assert_eq!(KeyHash::of(text.as_bytes()), KeyHash(expected), "{text}");
    }
}

/// The places of bits are on disks: a file of version 1 must be read for ever.
#[test]
fn the_layout_of_version_1_is_what_it_was() {
    let mut builder = KeyFilterBuilder::new(0);
    for text in ["letters", "", "a"] {
        builder.enter(Some(text.as_bytes()));
    }
    builder.enter(None);
    let file = builder.finish(SEGMENT);
    let hex: String = file.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, include_str!("version_1.hex").trim_end());
}

#[test]
fn no_key_that_was_entered_is_denied_and_few_others_are_not() {
    for count in [0, 1, 2, 57, 58, 59, 1_000, 40_000, 300_000] {
        let file = filter(count * 40, 0..count);
        let header = KeyFilterHeader::parse(&file).unwrap();
        assert_eq!((header.segment, header.keyed), (SEGMENT, count));
        assert!(!header.keyless);
        assert_eq!(header.file_bytes(), file.len() as u64);
        for number in 0..count {
            assert_eq!(ask(&file, &key(number)), Ok(true), "{number} of {count}");
        }
        let asked = 100_000;
        let wrong = (count..count + asked).filter(|n| ask(&file, &key(*n)) == Ok(true)).count();
        assert!(wrong as u64 <= asked / 40, "{wrong} of {asked} with {count} keys");
        // Bits a key, checksums and header included: between 8.5 and 18, but for the smallest.
        let bits = file.len() as u64 * 8;
        assert!(bits <= 1024 + count * 19, "{bits} bits for {count} keys");
    }
}

#[test]
fn repeated_keys_take_no_room() {
    let mut builder = KeyFilterBuilder::new(10 << 20);
    for round in 0..200_000 {
        builder.enter(Some(&key(round % 100)));
    }
    builder.enter(None);
    let file = builder.finish(SEGMENT);
    let header = KeyFilterHeader::parse(&file).unwrap();
    assert_eq!((header.keyed, header.keyless), (200_000, true));
    assert!(header.blocks <= 4, "{}", header.blocks);
}

#[test]
fn more_keys_than_fit_make_a_filter_that_denies_nothing_or_less() {
    // A segment of 1 KiB begins with 64 blocks.
    for (count, useless) in [(10_000, false), (100_000, true)] {
        let file = filter(1024, 0..count);
        let header = KeyFilterHeader::parse(&file).unwrap();
        assert_eq!(header.blocks == 0, useless, "{count}");
        assert!((0..count).all(|number| ask(&file, &key(number)) == Ok(true)));
        assert!(!useless || ask(&file, b"never seen") == Ok(true));
    }
}

#[test]
fn whichever_bit_flips_no_key_is_denied() {
    let file = filter(4096, 0..150);
    let mut caught = 0;
    for bit in 0..file.len() * 8 {
        let mut damaged = file.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        for number in 0..150 {
            match ask(&damaged, &key(number)) {
                Ok(may) => assert!(may, "bit {bit}, key {number}"),
                Err(_) => caught += 1,
            }
        }
    }
    assert!(caught > file.len() * 8, "{caught}");
    // Every flip of the header is caught, whatever is asked.
    for bit in 0..BLOCK_BYTES * 8 {
        let mut damaged = file.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert!(KeyFilterHeader::parse(&damaged).is_err(), "bit {bit}");
    }
}

#[test]
fn a_torn_file_and_blocks_of_another_one_deny_nothing() {
    let file = filter(40_000, 0..1_000);
    for cut in 0..file.len() {
        let mut torn = file[..cut].to_vec();
        assert_ne!(ask(&torn, &key(3)), Ok(false));
        torn.resize(file.len(), 0);
        assert_ne!(ask(&torn, &key(3)), Ok(false));
    }
    // Blocks of a filter of another segment, and blocks in each other's places.
    let mut builder = KeyFilterBuilder::new(40_000);
    (1_000..2_000).for_each(|number| builder.enter(Some(&key(number))));
    let other = builder.finish(FilteredSegment { end: 100, ..SEGMENT });
    assert_eq!(file.len(), other.len());
    let mixed = [&file[..BLOCK_BYTES], &other[BLOCK_BYTES..]].concat();
    let mut swapped = file.clone();
    let (first, second) = swapped[BLOCK_BYTES..3 * BLOCK_BYTES].split_at_mut(BLOCK_BYTES);
    first.swap_with_slice(second);
    for number in 0..1_000 {
        assert_ne!(ask(&swapped, &key(number)), Ok(false));
        assert!(ask(&mixed, &key(number)).is_err());
    }
}
