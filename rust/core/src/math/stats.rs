//! Moments, median and mode of plain numbers.

/// Count, mean, sample standard deviation and range of some values.
#[derive(Clone, Copy, Debug)]
pub struct Moments {
    /// Number of values.
    pub count: usize,
    /// Their mean.
    pub mean: f64,
    /// Their sample standard deviation (n - 1).
    pub std: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
}

/// Moments of the values in `[low, high]`, in two passes so that no bits are lost.
#[must_use]
pub fn moments_within(values: &[f32], low: f64, high: f64) -> Moments {
    let kept = || {
        values
            .iter()
            .map(|&v| f64::from(v))
            .filter(|v| *v >= low && *v <= high)
    };
    let (mut count, mut sum) = (0_usize, 0.0);
    let (mut min, mut max) = (f64::INFINITY, f64::NEG_INFINITY);
    for v in kept() {
        count += 1;
        sum += v;
        min = min.min(v);
        max = max.max(v);
    }
    let mean = sum / count as f64;
    let squares: f64 = kept().map(|v| (v - mean) * (v - mean)).sum();
    let std = (squares / (count as f64 - 1.0)).sqrt();
    Moments {
        count,
        mean,
        std,
        min,
        max,
    }
}

/// Median, the mean of the two middle values of an even number; NaN of none. Reorders the values.
#[must_use]
pub fn median_in_place(values: &mut [f32]) -> f32 {
    let n = values.len();
    if n == 0 {
        return f32::NAN;
    }
    let (below, middle, _) = values.select_nth_unstable_by(n / 2, f32::total_cmp);
    let upper = *middle;
    if n % 2 == 1 {
        return upper;
    }
    let lower = below
        .iter()
        .copied()
        .max_by(f32::total_cmp)
        .unwrap_or(upper);
    f32::midpoint(lower, upper)
}

/// Mode of the values between the extremes of their clipped moments `m`: the fullest bin, of `bin_width` standard
/// deviations, refined by a parabola through it and its neighbours; the mean where there are fewer than 3 bins.
#[must_use]
pub fn histogram_mode(values: &[f32], m: &Moments, bin_width: f64) -> f64 {
    let width = bin_width * m.std;
    if width.is_nan() || width <= 0.0 {
        return m.mean;
    }
    let n_bins = ((m.max - m.min) / width) as usize + 1;
    if n_bins < 3 {
        return m.mean;
    }
    let step = (m.max - m.min) / (n_bins as f64 - 1.0);
    let mut counts = vec![0_i64; n_bins];
    for v in values.iter().map(|&v| f64::from(v)) {
        if v >= m.min && v <= m.max {
            let bin = (((v - m.min) / step) as usize).min(n_bins - 1);
            counts[bin] += 1;
        }
    }
    // The first of equally full bins.
    let peak = (0..n_bins).rev().max_by_key(|&i| counts[i]).unwrap_or(0);
    let left = counts[peak] - if peak > 0 { counts[peak - 1] } else { 0 };
    let right = counts[peak] - counts.get(peak + 1).copied().unwrap_or(0);
    let offset = if left + right == 0 {
        0.0
    } else {
        0.5 * (left - right) as f64 / (left + right) as f64
    };
    m.min + (peak as f64 + 0.5 + offset) * width
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_of_odd_even_and_no_values() {
        assert_eq!(median_in_place(&mut [3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median_in_place(&mut [4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median_in_place(&mut []).is_nan());
    }

    #[test]
    fn moments_count_only_what_is_within() {
        let m = moments_within(&[1.0, 2.0, 3.0, 100.0], 0.0, 10.0);
        assert_eq!(
            (m.count, m.mean, m.std, m.min, m.max),
            (3, 2.0, 1.0, 1.0, 3.0)
        );
    }
}
