//! Mean, spread and percentiles, defined as numpy defines them so that rows agree with those of Python tools.

use serde::Serialize;

/// What a benchmark reports of one quantity, in the unit of its samples; all zero when there are none.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Distribution {
    pub mean: f64,
    pub median: f64,
    /// Population standard deviation.
    pub std: f64,
    pub p90: f64,
    pub p99: f64,
    pub p99_9: f64,
}

impl Distribution {
    /// Summarises finite samples in the order in which they were taken, which decides the rounding of their sum.
    pub fn of(samples: &[f64]) -> Self {
        if samples.is_empty() {
            return Self::default();
        }
        let mut sorted = samples.to_vec();
        sorted.sort_unstable_by(f64::total_cmp);
        Self {
            mean: mean(samples),
            median: median(&sorted),
            std: population_std(samples),
            p90: percentile(&sorted, 90.0),
            p99: percentile(&sorted, 99.0),
            p99_9: percentile(&sorted, 99.9),
        }
    }
}

/// Arithmetic mean; 0 of no samples.
pub fn mean(samples: &[f64]) -> f64 {
    match samples {
        [] => 0.0,
        _ => pairwise_sum(samples) / samples.len() as f64,
    }
}

/// Standard deviation with divisor n; 0 of no samples.
pub fn population_std(samples: &[f64]) -> f64 {
    let mean = mean(samples);
    let squares: Vec<f64> = samples
        .iter()
        .map(|sample| {
            let off = sample - mean;
            off * off
        })
        .collect();
    self::mean(&squares).sqrt()
}

/// The middle sample, or the mean of the two in the middle; 0 of no samples.
pub fn median(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => 0.0,
        odd if odd % 2 == 1 => sorted[middle],
        _ => (sorted[middle - 1] + sorted[middle]) / 2.0,
    }
}

/// The percentile by linear interpolation between the two nearest ranks, numpy's default; 0 of no samples.
///
/// `percent` is in [0, 100] and `sorted` ascends.
pub fn percentile(sorted: &[f64], percent: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else {
        return 0.0;
    };
    let rank = last as f64 * (percent / 100.0);
    let below = (rank.floor() as usize).min(last);
    let (low, high) = (sorted[below], sorted[(below + 1).min(last)]);
    let share = rank - below as f64;
    // Measured from the nearer end, so that the result never leaves [low, high].
    match share {
        s if s >= 0.5 => high - (high - low) * (1.0 - s),
        s => low + (high - low) * s,
    }
}

/// Sums in halves down to blocks of 128 with eight running sums each: as exact as it is fast, and numpy's order.
fn pairwise_sum(values: &[f64]) -> f64 {
    const LANES: usize = 8;
    const BLOCK: usize = 128;
    if values.len() < LANES {
        return values.iter().sum();
    }
    if values.len() > BLOCK {
        let half = values.len() / 2;
        let (left, right) = values.split_at(half - half % LANES);
        return pairwise_sum(left) + pairwise_sum(right);
    }
    let (lanes, rest) = values.as_chunks::<LANES>();
    let mut sums = [0.0; LANES];
    for lane in lanes {
        for (sum, value) in sums.iter_mut().zip(lane) {
            *sum += value;
        }
    }
    let [a, b, c, d, e, f, g, h] = sums;
    let sum = ((a + b) + (c + d)) + ((e + f) + (g + h));
    rest.iter().fold(sum, |sum, value| sum + value)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Numbers without a pattern, the same ones as in the Python that gave the expected values:
    /// `x = 1; x = x * 48271 % 2147483647` repeatedly, each divided by 1e6.
    fn lehmer(count: usize) -> Vec<f64> {
        let mut state: u64 = 1;
        (0..count)
            .map(|_| {
                state = state * 48271 % 2_147_483_647;
                state as f64 / 1e6
            })
            .collect()
    }

    #[test]
    fn numpy_gives_the_same_to_the_last_bit() {
        // numpy 2.4.6: mean, std, and median, then percentile of 90, 99 and 99.9.
        let expected = [
            (1, [0.048271, 0.0, 0.048271, 0.048271, 0.048271, 0.048271]),
            (
                2,
                [
                    91.3270325,
                    91.2787615,
                    91.3270325,
                    164.35004170000002,
                    180.78021877,
                    182.42323647700002,
                ],
            ),
            (
                7,
                [
                    997.2423532857143,
                    766.7722509281563,
                    1105.902161,
                    1980.2999986,
                    2068.83213676,
                    2077.685350576,
                ],
            ),
            (
                8,
                [
                    979.4266222499999,
                    718.7969296683249,
                    980.3093329999999,
                    1963.9051582,
                    2067.19265272,
                    2077.5214021720003,
                ],
            ),
            (
                127,
                [
                    1043.8517901653545,
                    615.3613836587639,
                    1098.894339,
                    1927.9894832,
                    2130.12157914,
                    2136.1758213380003,
                ],
            ),
            (
                129,
                [
                    1051.734712116279,
                    613.8486211388455,
                    1105.724094,
                    1926.7671176000001,
                    2130.05710392,
                    2136.1638852640003,
                ],
            ),
            (
                1000,
                [
                    1075.966992009,
                    621.0258506605205,
                    1094.048208,
                    1940.6043358000002,
                    2112.7722929399997,
                    2136.932969351001,
                ],
            ),
            (
                5003,
                [
                    1086.4220509366378,
                    622.496400258282,
                    1098.34476,
                    1940.4900882000002,
                    2124.84908838,
                    2144.2129002400006,
                ],
            ),
        ];
        for (count, [mean, std, median, p90, p99, p99_9]) in expected {
            let distribution = Distribution {
                mean,
                median,
                std,
                p90,
                p99,
                p99_9,
            };
            assert_eq!(Distribution::of(&lehmer(count)), distribution, "{count} samples");
        }
    }

    #[test]
    fn no_samples_are_zero() {
        assert_eq!(Distribution::of(&[]), Distribution::default());
        assert_eq!(percentile(&[], 50.0), 0.0);
        assert_eq!(median(&[]), 0.0);
    }

    #[test]
    fn equal_samples_have_no_spread() {
        assert_eq!(population_std(&[0.25; 1000]), 0.0);
    }

    fn samples() -> impl Strategy<Value = Vec<f64>> {
        prop::collection::vec(0.0..1e7_f64, 1..400)
    }

    proptest! {
        #[test]
        fn percentiles_stay_within_the_samples_and_ascend(samples in samples(), a in 0.0..=100.0_f64, b in 0.0..=100.0_f64) {
            let mut sorted = samples;
            sorted.sort_unstable_by(f64::total_cmp);
            let (low, high) = (a.min(b), a.max(b));
            let (low, high) = (percentile(&sorted, low), percentile(&sorted, high));
            prop_assert!(sorted[0] <= low && low <= high && high <= sorted[sorted.len() - 1]);
            prop_assert_eq!(percentile(&sorted, 0.0), sorted[0]);
            prop_assert_eq!(percentile(&sorted, 100.0), sorted[sorted.len() - 1]);
        }

        #[test]
        fn order_decides_no_percentile(samples in samples()) {
            let mut reversed = samples.clone();
            reversed.reverse();
            let (one, other) = (Distribution::of(&samples), Distribution::of(&reversed));
            prop_assert_eq!((one.median, one.p90, one.p99, one.p99_9), (other.median, other.p90, other.p99, other.p99_9));
        }

        #[test]
        fn the_median_is_the_fiftieth_percentile(samples in samples()) {
            let mut sorted = samples;
            sorted.sort_unstable_by(f64::total_cmp);
            let (median, p50) = (median(&sorted), percentile(&sorted, 50.0));
            prop_assert!((median - p50).abs() <= 1e-9 * (1.0 + p50));
        }

        #[test]
        fn mean_and_spread_shift_and_scale_with_the_samples(samples in samples(), by in 0.1..10.0_f64, add in 0.0..1e6_f64) {
            let moved: Vec<f64> = samples.iter().map(|sample| sample * by + add).collect();
            let near = |a: f64, b: f64| (a - b).abs() <= 1e-6 * (1.0 + a.abs().max(b.abs()));
            prop_assert!(near(mean(&moved), mean(&samples) * by + add));
            prop_assert!(near(population_std(&moved), population_std(&samples) * by));
        }
    }
}
