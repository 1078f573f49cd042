//! When the requests of an open load arrive.

use std::time::Duration;

use rand_distr::{Distribution, Gamma};

use super::prompts::{Purpose, random_stream};

/// Offsets from the start of the clock, ascending; the first request arrives at once.
///
/// Gaps follow a gamma distribution of mean `1 / rate_per_s` and shape `burstiness`; shape 1 is the exponential one, a
/// Poisson process. Both must be finite and above 0.
pub(super) fn offsets(seed: u64, count: u32, rate_per_s: f64, burstiness: f64) -> Vec<Duration> {
    let gaps = Gamma::new(burstiness, 1.0 / (rate_per_s * burstiness))
        .expect("a checked workload has a rate and a burstiness above 0");
    let mut random = random_stream(seed, Purpose::Arrivals, 0);
    let mut at = 0.0;
    (0..count)
        .map(|_| {
            let offset = Duration::try_from_secs_f64(at).unwrap_or(Duration::MAX);
            at += gaps.sample(&mut random);
            offset
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_rate_and_the_spread_are_as_asked() {
        for (burstiness, squared_variation) in [(1.0, 1.0), (0.25, 4.0), (4.0, 0.25)] {
            let offsets = offsets(1, 20_001, 50.0, burstiness);
            let gaps: Vec<f64> = offsets.windows(2).map(|w| (w[1] - w[0]).as_secs_f64()).collect();
            let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
            let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
            assert!((mean * 50.0 - 1.0).abs() < 0.05, "mean gap {mean}");
            let seen = variance / mean.powi(2);
            assert!(
                (seen / squared_variation - 1.0).abs() < 0.15,
                "burstiness {burstiness}: {seen}"
            );
        }
    }

    #[test]
    fn a_seed_decides_the_times() {
        assert_eq!(offsets(1, 50, 3.0, 1.0), offsets(1, 50, 3.0, 1.0));
        assert_ne!(offsets(1, 50, 3.0, 1.0), offsets(2, 50, 3.0, 1.0));
        assert_eq!(offsets(1, 1, 3.0, 1.0), [Duration::ZERO]);
    }
}
