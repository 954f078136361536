//! What an adversary, a cut connection or a bad disk does to bytes.

use crate::random::Random;

/// Changes `bytes` in a few places, in one case of six not at all. `partner` is another valid
/// input of the same kind, to splice with.
pub fn mutate(random: &mut Random, bytes: &mut Vec<u8>, partner: &[u8]) {
    for _ in 0..random.pick(&[0, 1, 1, 2, 3, 8]) {
        once(random, bytes, partner);
    }
}

fn once(random: &mut Random, bytes: &mut Vec<u8>, partner: &[u8]) {
    let at = position(random, bytes.len());
    match random.below(10) {
        0 => flip(random, bytes, at),
        1 => bytes.truncate(at),
        2 => {
            // Two prefixes or suffixes of valid inputs, put together.
            let from = random.below(partner.len() + 1);
            bytes.truncate(at);
            bytes.extend_from_slice(&partner[from..]);
        }
        3 => overwrite(bytes, at, &(random.number() as i16).to_be_bytes()),
        4 => overwrite(bytes, at, &(random.number() as i32).to_be_bytes()),
        5 => overwrite(bytes, at, &random.number().to_be_bytes()),
        6 => {
            let varint = varint(random);
            let removed = random.below(3).min(bytes.len() - at);
            bytes.splice(at..at + removed, varint);
        }
        7 => {
            // The same slice again and again: counts that hold, for elements of no substance.
            let end = at + random.below((bytes.len() - at).min(64) + 1);
            let slice = bytes[at..end].to_vec();
            for _ in 0..random.pick(&[1, 2, 20]) {
                bytes.splice(at..at, slice.iter().copied());
            }
        }
        8 => {
            let count = random.below(9);
            let extra = random.bytes(count);
            bytes.splice(at..at, extra);
        }
        _ => {
            let end = at + random.below((bytes.len() - at).min(16) + 1);
            bytes.drain(at..end);
        }
    }
}

/// Anywhere, but often near the start, where lengths and counts are.
fn position(random: &mut Random, length: usize) -> usize {
    let bound = if random.chance(40) { length.min(64) } else { length };
    random.below(bound + 1)
}

fn flip(random: &mut Random, bytes: &mut [u8], at: usize) {
    if let Some(byte) = bytes.get_mut(at) {
        *byte ^= if random.chance(50) { 1 << random.below(8) } else { random.bits() as u8 };
    }
}

fn overwrite(bytes: &mut [u8], at: usize, with: &[u8]) {
    for (to, from) in bytes.iter_mut().skip(at).zip(with) {
        *to = *from;
    }
}

/// A variable-length integer: as it should be, longer than it has to be, or too long.
fn varint(random: &mut Random) -> Vec<u8> {
    let mut raw = random.number() as u64;
    let padding = random.pick(&[0, 0, 1, 4, 9]);
    let mut out = Vec::new();
    while raw >= 0x80 {
        out.push(raw as u8 | 0x80);
        raw >>= 7;
    }
    for _ in 0..padding {
        out.push(raw as u8 | 0x80);
        raw = 0;
    }
    out.push(raw as u8);
    out
}
