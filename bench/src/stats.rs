//! Ratios of two brokers, with their spread and the noise they stand in. Owns nothing.
//!
//! A round gives two values of each broker, taken in the order A B B A.
//!
//! - The ratio of a round is the mean of A's two values by the mean of B's two; what is told is the
//!   median over the rounds, with the smallest and the largest.
//! - Noise is what separates two runs of the same broker in the same round: the larger by the
//!   smaller value, of both brokers in all rounds. The band reaches as far as the value that nine
//!   of ten of those don't exceed (nearest rank), to both sides of 1.
//! - Two brokers are equal if the median ratio is inside the band, or if the rounds don't agree
//!   about who is ahead.

/// The values of one round.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Round {
    /// Of Ottla.
    pub ours: [f64; 2],
    /// Of Apache Kafka.
    pub theirs: [f64; 2],
}

/// What the rounds add up to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Comparison {
    /// The median of all our values.
    pub ours: f64,
    /// The median of all their values.
    pub theirs: f64,
    /// The median of the rounds' ratios, ours by theirs.
    pub ratio: f64,
    /// The smallest ratio of a round.
    pub low: f64,
    /// The largest ratio of a round.
    pub high: f64,
    /// The band is from `1 / noise` to `noise`; at least 1.
    pub noise: f64,
}

impl Comparison {
    /// True if the rounds show no difference.
    pub fn is_equal(&self) -> bool {
        let inside = self.ratio <= self.noise && self.ratio >= 1.0 / self.noise;
        inside || (self.low <= 1.0 && self.high >= 1.0)
    }
}

/// Compares; `None` without rounds, or if a value is not positive and so has no ratio.
pub fn compare(rounds: &[Round]) -> Option<Comparison> {
    let values = |of: fn(&Round) -> [f64; 2]| -> Vec<f64> { rounds.iter().flat_map(of).collect() };
    let (ours, theirs) = (values(|round| round.ours), values(|round| round.theirs));
    if !ours.iter().chain(&theirs).all(|value| value.is_finite() && *value > 0.0) {
        return None;
    }
    let mean = |pair: [f64; 2]| f64::midpoint(pair[0], pair[1]);
    let ratios: Vec<f64> =
        rounds.iter().map(|round| mean(round.ours) / mean(round.theirs)).collect();
    let apart = |pair: [f64; 2]| pair[0].max(pair[1]) / pair[0].min(pair[1]);
    let noises: Vec<f64> =
        rounds.iter().flat_map(|round| [apart(round.ours), apart(round.theirs)]).collect();
    Some(Comparison {
        ours: median(&ours)?,
        theirs: median(&theirs)?,
        ratio: median(&ratios)?,
        low: ratios.iter().copied().reduce(f64::min)?,
        high: ratios.iter().copied().reduce(f64::max)?,
        noise: ninth_of_ten(&noises)?,
    })
}

/// The middle value, or the mean of the two in the middle; `None` of nothing.
pub fn median(values: &[f64]) -> Option<f64> {
    let sorted = sorted(values);
    let upper = *sorted.get(sorted.len() / 2)?;
    let lower = sorted[(sorted.len() - 1) / 2];
    Some(f64::midpoint(lower, upper))
}

/// The smallest value that nine of ten don't exceed.
fn ninth_of_ten(values: &[f64]) -> Option<f64> {
    let rank = (values.len() * 9).div_ceil(10);
    sorted(values).get(rank.checked_sub(1)?).copied()
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(ours: [f64; 2], theirs: [f64; 2]) -> Round {
        Round { ours, theirs }
    }

    #[test]
    fn median_of_even_and_odd_counts() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0]), Some(3.0));
        assert_eq!(median(&[4.0, 1.0]), Some(2.5));
        assert_eq!(median(&[9.0, 1.0, 5.0]), Some(5.0));
    }

    #[test]
    fn ratio_is_the_median_of_the_rounds_and_spread_their_range() {
        let rounds = [
            round([19.0, 21.0], [10.0, 10.0]),
            round([30.0, 30.0], [10.0, 10.0]),
            round([24.0, 26.0], [9.0, 11.0]),
        ];
        let found = compare(&rounds).unwrap();
        assert_eq!((found.low, found.ratio, found.high), (2.0, 2.5, 3.0));
        assert_eq!((found.ours, found.theirs), (25.0, 10.0));
        assert!(!found.is_equal());
    }

    #[test]
    fn noise_is_the_ninth_of_ten_pairs_of_one_broker() {
        // Four rounds have eight pairs, and nine of ten of these are all eight.
        let mut rounds = vec![round([10.0, 10.0], [10.0, 10.0]); 4];
        rounds[1] = round([10.0, 10.0], [12.5, 10.0]);
        assert_eq!(compare(&rounds).unwrap().noise, 1.25);
        // Of ten pairs, the largest is left out.
        rounds.push(round([10.0, 11.0], [10.0, 10.0]));
        assert_eq!(compare(&rounds).unwrap().noise, 1.1);
    }

    #[test]
    fn ratio_inside_the_band_is_equal_on_both_sides() {
        let noisy = |ours: f64| compare(&[round([ours, ours], [10.0, 12.5])]).unwrap();
        assert!(noisy(14.0).is_equal(), "1.24 in a band of 1.25");
        assert!(!noisy(14.2).is_equal());
        assert!(noisy(9.1).is_equal(), "0.81 in a band of 0.8");
        assert!(!noisy(8.9).is_equal());
    }

    #[test]
    fn rounds_that_disagree_are_equal() {
        let mut rounds = vec![round([20.0, 20.0], [10.0, 10.0]); 4];
        assert!(!compare(&rounds).unwrap().is_equal());
        rounds.push(round([9.0, 9.0], [10.0, 10.0]));
        assert!(compare(&rounds).unwrap().is_equal());
    }

    #[test]
    fn what_has_no_ratio_is_not_compared() {
        assert_eq!(compare(&[]), None);
        assert_eq!(compare(&[round([0.0, 1.0], [1.0, 1.0])]), None);
        assert_eq!(compare(&[round([1.0, 1.0], [f64::NAN, 1.0])]), None);
    }
}
