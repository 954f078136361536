//! The one source of chance of a case.

/// A small generator (splitmix64): any seed is a good one, 0 included.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Starts from a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`; 0 if that is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.bits() % bound.max(1) as u64) as usize
    }

    /// True in `percent` of 100 cases.
    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// One of the values, of which there is at least one.
    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    /// So many bytes: random, or one byte again and again, which compresses well.
    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        if self.chance(50) {
            return vec![self.bits() as u8; count];
        }
        (0..count).map(|_| self.bits() as u8).collect()
    }

    /// A number that is likely to sit at a border of something.
    pub fn number(&mut self) -> i64 {
        let extreme = self.pick(&EXTREMES);
        match self.below(4) {
            0 => self.below(10) as i64,
            1 => extreme,
            2 => extreme.wrapping_add(self.below(3) as i64 - 1),
            _ => (self.bits() >> self.below(64)) as i64,
        }
    }
}

const EXTREMES: [i64; 14] = [
    0,
    -1,
    1,
    0x7f,
    0x80,
    i16::MAX as i64,
    i16::MIN as i64,
    u16::MAX as i64,
    i32::MAX as i64,
    i32::MIN as i64,
    u32::MAX as i64,
    i64::MAX,
    i64::MIN,
    1 << 20,
];
