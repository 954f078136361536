//! Ratios of two brokers, with their spread and the noise they stand in. Owns nothing.
//!
//! A round gives two values of each broker, taken in the order A B B A.
//!
//! - The ratio of a round is the mean of A's two values by the mean of B's two; what is told is the
//!   median over the rounds, with the smallest and the largest.
//! - Noise is what the rounds' ratios differ by, not what two runs of one broker do: what drifts
//!   evenly is in both and cancels out of a ratio. The band is three standard errors of the mean
//!   of the ratios to both sides of 1, in logarithms, so that it is the same whoever is divided by
//!   whom. Rounds of two equal brokers leave a band of five rounds about once in 25 times
//!   (Student's t with four degrees of freedom), so of a table of 25 rows expect one that lies.
//! - Two brokers differ if the median ratio is outside the band and all rounds agree about who is
//!   ahead; otherwise they are equal. One round alone shows no difference.
//! - The band is never narrower than 0.99 to 1.01, the digits that are told.
//!
//! Both brokers run through all rounds of a workload: what differs from one start of a broker to
//! the next is not in the noise.

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
    /// The band is from `1 / noise` to `noise`; infinite with one round.
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
    Some(Comparison {
        ours: median(&ours)?,
        theirs: median(&theirs)?,
        ratio: median(&ratios)?,
        low: ratios.iter().copied().reduce(f64::min)?,
        high: ratios.iter().copied().reduce(f64::max)?,
        noise: band(&ratios),
    })
}

/// The middle value, or the mean of the two in the middle; `None` of nothing.
pub fn median(values: &[f64]) -> Option<f64> {
    let sorted = sorted(values);
    let upper = *sorted.get(sorted.len() / 2)?;
    let lower = sorted[(sorted.len() - 1) / 2];
    Some(f64::midpoint(lower, upper))
}

/// How far from 1 the mean of ratios like these gets by chance.
fn band(ratios: &[f64]) -> f64 {
    let count = ratios.len() as f64;
    let mean = ratios.iter().map(|ratio| ratio.ln()).sum::<f64>() / count;
    let squares = ratios.iter().map(|ratio| (ratio.ln() - mean).powi(2)).sum::<f64>();
    // Of one round it is 0 by 0: nothing is known.
    let error = (squares / (count - 1.0) / count).sqrt();
    if error.is_nan() { f64::INFINITY } else { (STANDARD_ERRORS * error).exp().max(NARROWEST) }
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

const STANDARD_ERRORS: f64 = 3.0;
const NARROWEST: f64 = 1.01;

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

    /// Rounds with these ratios.
    fn rounds(ratios: &[f64]) -> Comparison {
        let of = |ratio: &f64| round([*ratio, *ratio], [1.0, 1.0]);
        compare(&ratios.iter().map(of).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn noise_is_three_standard_errors_of_the_ratios() {
        // The deviation of (-1, 0, 1) is 1, the standard error of the three 1 / sqrt 3.
        let e = std::f64::consts::E;
        let found = rounds(&[2.0 / e, 2.0, 2.0 * e]);
        assert!((found.noise.ln() - 3_f64.sqrt()).abs() < 1e-9, "{found:?}");
        let other = rounds(&[0.5 / e, 0.5, 0.5 * e]);
        assert!((found.noise - other.noise).abs() < 1e-9, "the other way round");
        assert_eq!(rounds(&[2.0, 2.0]).noise, 1.01);
        assert!(rounds(&[1.005, 1.005]).is_equal() && !rounds(&[1.02, 1.02]).is_equal());
        assert!(rounds(&[2.0]).is_equal(), "one round");
    }

    #[test]
    fn drift_that_hits_both_is_no_noise() {
        let drifting = |from: f64| round([from, from * 1.6], [from * 1.4, from * 1.8]);
        let found = compare(&[10.0, 20.0, 15.0, 12.0, 18.0].map(drifting)).unwrap();
        assert!(!found.is_equal() && found.noise < 1.02, "{found:?}");
    }

    #[test]
    fn small_difference_in_all_rounds_is_one_and_in_wide_rounds_is_none() {
        assert!(!rounds(&[0.78, 0.80, 0.82, 0.85, 0.88]).is_equal());
        assert!(rounds(&[0.60, 0.90, 0.98, 0.99, 0.99]).is_equal(), "all agree");
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
