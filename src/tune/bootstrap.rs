//! Intervals for what was measured a few times, without assuming how it is distributed.

use crate::rng::Rng;

/// An estimate and the interval it lies in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// The mean of what was measured.
    pub middle: f64,
    /// Its lower end.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
}

impl Interval {
    /// True if the whole interval lies above `bound`.
    #[must_use]
    pub fn is_above(&self, bound: f64) -> bool {
        self.low > bound
    }

    /// True if the whole interval lies below `bound`.
    #[must_use]
    pub fn is_below(&self, bound: f64) -> bool {
        self.high < bound
    }
}

/// The mean of `values` with its bootstrap-t interval (Efron and Tibshirani 1993, section 12.5), of error
/// `alpha` over both ends; `None` without values. Percentiles of resampled means alone are too narrow for
/// a handful of values; dividing each by its own resample's error mends that.
#[must_use]
pub fn mean_interval(values: &[f64], alpha: f64, rng: &mut Rng) -> Option<Interval> {
    let (middle, error) = mean_and_error(values)?;
    if values.len() == 1 {
        return Some(Interval { middle, low: f64::NEG_INFINITY, high: f64::INFINITY });
    }
    let mut resample = vec![0.0; values.len()];
    let mut scores = Vec::with_capacity(RESAMPLES);
    for _ in 0..RESAMPLES {
        resample.fill_with(|| values[rng.below(values.len() as u64) as usize]);
        let (mean, spread) = mean_and_error(&resample)?;
        // One value many times over: it says nothing of the spread.
        if spread > 0.0 {
            scores.push((mean - middle) / spread);
        }
    }
    scores.sort_by(f64::total_cmp);
    let at = |share: f64| scores.get(((share * scores.len() as f64) as usize).min(scores.len().max(1) - 1));
    let end = |share: f64| middle - at(share).copied().unwrap_or(0.0) * error;
    Some(Interval { middle, low: end(1.0 - alpha / 2.0), high: end(alpha / 2.0) })
}

/// The mean and its standard error.
fn mean_and_error(values: &[f64]) -> Option<(f64, f64)> {
    let count = values.len() as f64;
    if values.is_empty() {
        return None;
    }
    let mean = values.iter().sum::<f64>() / count;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    Some((mean, (squares / (count - 1.0).max(1.0) / count).sqrt()))
}

const RESAMPLES: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_holds_the_mean_and_narrows_with_more_values() {
        let mut rng = Rng::new(7);
        let noisy =
            |count: usize, rng: &mut Rng| -> Vec<f64> { (0..count).map(|_| 1.0 + rng.unit()).collect() };
        let few = mean_interval(&noisy(6, &mut rng), 0.05, &mut rng).expect("values");
        let many = mean_interval(&noisy(200, &mut rng), 0.05, &mut rng).expect("values");
        assert!(few.low < few.middle && few.middle < few.high, "{few:?}");
        assert!(many.high - many.low < few.high - few.low, "{few:?} {many:?}");
        assert!(many.low < 1.5 && 1.5 < many.high, "{many:?}");
    }

    #[test]
    fn one_value_proves_nothing_and_none_is_none() {
        let mut rng = Rng::new(7);
        let one = mean_interval(&[3.0], 0.05, &mut rng).expect("a value");
        assert!(!one.is_above(0.0) && !one.is_below(0.0), "{one:?}");
        assert_eq!(mean_interval(&[], 0.05, &mut rng), None);
    }

    #[test]
    fn intervals_of_nothing_but_noise_seldom_miss_zero() {
        // 200 experiments of 8 rounds: at 5 % ten would miss if the interval were exact.
        let mut rng = Rng::new(11);
        let missed = (0..200).filter(|_| {
            let values: Vec<f64> = (0..8).map(|_| rng.unit() + rng.unit() - 1.0).collect();
            let interval = mean_interval(&values, 0.05, &mut rng).expect("values");
            interval.is_above(0.0) || interval.is_below(0.0)
        });
        let missed = missed.count();
        assert!(missed <= 20, "{missed} of 200 (seed 11)");
    }
}
