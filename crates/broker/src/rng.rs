//! Fresh ids from a seed the shell drew once: a node with the same seed draws the same ids.

use metadata::controller::IdSource;
use wire::Uuid;

/// xoshiro256++, by Blackman and Vigna.
#[derive(Clone, Debug)]
pub struct Rng([u64; 4]);

impl Rng {
    /// Starts from 256 bits of entropy. All zeros is the one state that never leaves itself.
    pub fn new(seed: [u64; 4]) -> Self {
        Self(if seed == [0; 4] { [1, 2, 3, 4] } else { seed })
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        let [a, b, c, d] = self.0;
        let result = a.wrapping_add(d).rotate_left(23).wrapping_add(a);
        let c2 = c ^ a;
        let d2 = d ^ b;
        self.0 = [a ^ d2, b ^ c2, c2 ^ (b << 17), d2.rotate_left(45)];
        result
    }
}

impl IdSource for Rng {
    fn next_id(&mut self) -> Uuid {
        loop {
            let bits = u128::from(self.next_u64()) << 64 | u128::from(self.next_u64());
            // Version 4, variant 1, as Java's random UUIDs are.
            let id = Uuid(bits & !(0xf << 76) & !(0x3 << 62) | 0x4 << 76 | 0x2 << 62);
            // Apache Kafka never hands out ids whose text starts with a dash: tools would take
            // them for a flag.
            if !id.is_reserved() && !id.to_string().starts_with('-') {
                return id;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_ids_and_they_are_version_4() {
        let mut left = Rng::new([1, 2, 3, 4]);
        let mut right = Rng::new([1, 2, 3, 4]);
        for _ in 0..1000 {
            let id = left.next_id();
            assert_eq!(id, right.next_id());
            assert_eq!((id.0 >> 76 & 0xf, id.0 >> 62 & 3), (4, 2));
        }
    }
}
