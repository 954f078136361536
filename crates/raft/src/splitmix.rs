//! Jitter for timeouts, from a seed the shell drew once: the same seed gives the same elections.

/// SplitMix64, by Steele, Lea and Flood.
#[derive(Clone, Debug)]
pub(crate) struct SplitMix(u64);

impl SplitMix {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number in `0..bound`, 0 if there is none.
    pub fn below(&mut self, bound: i64) -> i64 {
        if bound <= 0 { 0 } else { (self.next_u64() % bound as u64) as i64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_numbers_and_all_are_below_the_bound() {
        let (mut left, mut right) = (SplitMix::new(7), SplitMix::new(7));
        let mut seen = [0; 10];
        for _ in 0..1_000 {
            let number = left.below(10);
            assert_eq!(number, right.below(10));
            seen[number as usize] += 1;
        }
        assert!(seen.iter().all(|count| *count > 50), "{seen:?}");
        assert_eq!(left.below(0), 0);
    }
}
